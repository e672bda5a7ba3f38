"""How much a project may have."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, bindparam, func, select
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
_NAMES: Final = tuple(field.name for field in fields(Quotas))


def of_project(session: Session, project_id: ProjectId, defaults: Quotas) -> Quotas:
    """Return what holds for a project."""
    row = session.execute(select(*columns()).where(Project.id == project_id), bound(defaults)).one()
    return split(row)[0]


def columns() -> list[ColumnElement[int]]:
    """Return what holds for the project of a row, as SQL into which `bound` puts the defaults."""
    return [
        func.coalesce(getattr(Project, f"quota_{name}"), bindparam(f"default_{name}", type_=BigInteger))
        for name in _NAMES
    ]


def bound(defaults: Quotas) -> dict[str, int]:
    return {f"default_{name}": getattr(defaults, name) for name in _NAMES}


def split(row: Sequence[Any]) -> tuple[Quotas, list[Any]]:
    """Return the quotas at the beginning of a row of `columns`, and what comes behind them."""
    return Quotas(*row[: len(_NAMES)]), list(row[len(_NAMES) :])


def effective(name: str, defaults: Quotas) -> ColumnElement[int]:
    """Return one quota of the project of a row, as SQL."""
    return func.coalesce(getattr(Project, f"quota_{name}"), getattr(defaults, name))


def hold(session: Session, project_id: ProjectId) -> None:
    """Let no one else count against this project's quotas until the commit.

    Whoever only refers to the project does not wait.
    """
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
