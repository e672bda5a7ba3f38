"""How much a project may have."""

from dataclasses import dataclass, fields
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.ids import ProjectId
from app.projects.models import Project
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of a project; 0 means that there is none. The names are those of `GET /quota`.

    `gpu_seconds` is for a day, from midnight UTC.
    """

    running_jobs: int = 0
    queued_jobs: int = 0
    gpu_seconds: int = 0
    stored_bytes: int = 0

    @classmethod
    def by_default(cls, settings: Settings) -> "Quotas":
        """Return those of a project that has none of its own."""
        return Quotas(
            running_jobs=settings.quota_running_jobs,
            queued_jobs=settings.quota_queued_jobs,
            gpu_seconds=settings.quota_gpu_seconds,
            stored_bytes=settings.quota_stored_bytes,
        )


NONE: Final = Quotas()


def of_project(session: Session, project_id: ProjectId, defaults: Quotas) -> Quotas:
    """Return what holds for a project."""
    names = [field.name for field in fields(Quotas)]
    columns = [effective(name, defaults) for name in names]
    row = session.execute(select(*columns).where(Project.id == project_id)).one()
    return Quotas(row[0], row[1], row[2], row[3])


def effective(name: str, defaults: Quotas) -> ColumnElement[int]:
    """Return one quota of the project of a row, as SQL."""
    return func.coalesce(getattr(Project, f"quota_{name}"), getattr(defaults, name))


def hold(session: Session, project_id: ProjectId) -> None:
    """Let no one else count against this project's quotas until the commit.

    Whoever only refers to the project does not wait.
    """
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
