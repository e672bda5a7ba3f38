"""Exports of adapters, and the files they consist of."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, enum_column
from app.ids import AdapterId, ExportId, JobId, ProjectId


class ExportFormat(StrEnum):
    """What an adapter can be written as. `mixsd.exports.making` has the same."""

    MERGED = "merged"
    GGUF = "gguf"
    GGUF_LORA = "gguf_lora"


class ExportStatus(StrEnum):
    """`unusable`: it does not say what the adapter says, or the adapter is not in it."""

    READY = "ready"
    UNUSABLE = "unusable"


class Export(Base):
    """An adapter in a form that engines take. Inserted only by the transaction that publishes its job.

    `sha256` is that of the manifest, which lists every file with its own digest. `parity` is the
    certificate of `mixsd.exports.parity`.
    """

    __tablename__ = "exports"

    id: Mapped[ExportId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    adapter_id: Mapped[AdapterId] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    job_id: Mapped[JobId | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    format: Mapped[ExportFormat] = mapped_column(enum_column(ExportFormat, "format"))
    status: Mapped[ExportStatus] = mapped_column(enum_column(ExportStatus, "status"))
    dtype: Mapped[str]
    sha256: Mapped[str]
    bytes: Mapped[int]
    parity: Mapped[JsonObject]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "adapter_id", "id"), Index(None, "project_id"), Index(None, "job_id"))


class ExportFile(Base):
    """One file of an export, by the path a client asks for. Paths are looked up, never joined."""

    __tablename__ = "export_files"

    export_id: Mapped[ExportId] = mapped_column(
        ForeignKey("exports.id", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    bytes: Mapped[int]

    __table_args__ = (Index(None, "sha256"),)
