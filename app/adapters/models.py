"""Adapters, the files they consist of, and the blobs that hold those files."""

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import ForeignKey, Index, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, enum_column
from app.ids import AdapterId, FactSetId, JobId, ProjectId

IMPORTED: Final = "imported"
"""In the place of a method: nobody here knows by which one it was made."""


class AdapterStatus(StrEnum):
    READY = "ready"
    QUARANTINED = "quarantined"
    DELETED = "deleted"


class Adapter(Base):
    """LoRA weights. Those of a job are inserted only by the transaction that publishes it.

    Others were made elsewhere: their `method_type` is `IMPORTED`, they have no job, and facts only if
    somebody named them. Later its job may be gone as well, but not its facts.

    `variant` is the position in the job's list of variants, 0 if there is one, and `label` says which
    that is; one of them is `recommended`. `sha256` is
    that of the manifest, which lists every file with its own digest. One that its job's gate holds
    back is quarantined; `released_at` says when somebody let it go, `release_reason` why. Training began
    from `parent_adapter_id`, or from the base model.
    """

    __tablename__ = "adapters"

    id: Mapped[AdapterId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[JobId | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    fact_set_id: Mapped[FactSetId | None] = mapped_column(ForeignKey("fact_sets.id"))
    variant: Mapped[int] = mapped_column(default=0)
    label: Mapped[str | None]
    recommended: Mapped[bool] = mapped_column(default=True, server_default=true())
    status: Mapped[AdapterStatus] = mapped_column(enum_column(AdapterStatus, "status"))
    base_model: Mapped[str]
    base_revision: Mapped[str]
    method_type: Mapped[str]
    sha256: Mapped[str]
    bytes: Mapped[int]
    summary: Mapped[JsonObject]
    created_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
    release_reason: Mapped[str | None]
    parent_adapter_id: Mapped[AdapterId | None] = mapped_column(index=True)

    __table_args__ = (
        UniqueConstraint("job_id", "variant"),
        Index(None, "project_id", "id"),
        Index(None, "fact_set_id"),
    )


class AdapterFile(Base):
    """One file of an adapter, by the path a client asks for. Paths are looked up, never joined."""

    __tablename__ = "adapter_files"

    adapter_id: Mapped[AdapterId] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    bytes: Mapped[int]


class Blob(Base):
    """A file in the artifact store, named by its content."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int]
    created_at: Mapped[datetime]
