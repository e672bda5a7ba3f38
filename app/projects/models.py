"""Projects and their API keys. Everything else belongs to a project."""

from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonList
from app.ids import ApiKeyId, ProjectId

DEFAULT_PROJECT: Final = ProjectId("prj_default")
"""The project of every request without a key. The first migration creates it."""


class Project(Base):
    """A team. A quota that is null is that of the settings, and 0 means that there is none.

    A project that was deleted stays, for what refers to it, without keys and out of reach.
    """

    __tablename__ = "projects"

    id: Mapped[ProjectId] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    quota_running_jobs: Mapped[int | None]
    quota_queued_jobs: Mapped[int | None]
    quota_gpu_seconds: Mapped[int | None]
    quota_stored_bytes: Mapped[int | None]

    __table_args__ = (
        Index(
            "uq_projects_name",
            "name",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
            sqlite_where=text("deleted_at IS NULL"),
        ),
    )


class ApiKey(Base):
    """A key, as far as it is kept: by its digest. Rows stay when a key is revoked.

    `prefix` is the beginning of the secret, which may be shown. `scopes` lists values of `Scope`.
    """

    __tablename__ = "api_keys"

    id: Mapped[ApiKeyId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    scopes: Mapped[JsonList]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "project_id", "id"),)
