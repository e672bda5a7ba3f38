"""Files that were uploaded to be trained on, as they came. Each has a fact set that was made from it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, enum_column
from app.ids import FactSetId, FileId, ProjectId


class FileStatus(StrEnum):
    READY = "ready"
    DELETED = "deleted"


class UploadedFile(Base):
    """A file of conversations, immutable. `sha256` names its content in the artifact store.

    The row of one that was deleted stays, without its content: jobs that learned from it say its id.
    """

    __tablename__ = "uploaded_files"

    id: Mapped[FileId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    fact_set_id: Mapped[FactSetId] = mapped_column(ForeignKey("fact_sets.id"))
    status: Mapped[FileStatus] = mapped_column(enum_column(FileStatus, "status"))
    name: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))
    created_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "project_id", "id"),
        Index(None, "fact_set_id", unique=True),
        Index(None, "sha256"),
    )
