"""Rows of `projects` and `api_keys`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import column, exists, or_, select, table, update
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.ids import ApiKeyId, ProjectId, new_id
from app.projects.errors import ApiKeyNotFoundError, ProjectNameTakenError, ProjectNotFoundError
from app.projects.models import ApiKey, Project

_JOBS: Final = table("jobs", column("project_id"), column("finished_at"))
"""What this feature must know of the jobs, which lie above it: a job without an end is under way."""


def get_project(session: Session, project_id: str, *, lock: bool = False) -> Project:
    """Return a project.

    Raises:
        ProjectNotFoundError: There is none of that id, or it was deleted.
    """
    statement = select(Project).where(Project.id == project_id, Project.deleted_at.is_(None))
    project = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if project is None:
        raise ProjectNotFoundError(project_id)
    return project


def find_project(session: Session, name: str) -> Project | None:
    """Return the project of that name."""
    return session.scalars(
        select(Project).where(Project.name == name, Project.deleted_at.is_(None))
    ).one_or_none()


def check_name(session: Session, name: str, *, but: ProjectId | None = None) -> None:
    """Do nothing if a project may take this name.

    Raises:
        ProjectNameTakenError: Another one has it.
    """
    found = find_project(session, name)
    if found is not None and found.id != but:
        raise ProjectNameTakenError(name)


def add_project(session: Session, name: str, *, now: datetime) -> Project:
    project = Project(id=ProjectId(new_id("prj", now=now)), name=name, created_at=now)
    session.add(project)
    session.flush()
    return project


def list_projects(session: Session, cut: Cut[str], *, only: ProjectId | None) -> Sequence[Project]:
    """Return projects by id; with `only`, that one."""
    statement = select(Project).where(Project.deleted_at.is_(None))
    if only is not None:
        statement = statement.where(Project.id == only)
    return session.scalars(cut_by(statement, Project.id, cut)).all()


def is_busy(session: Session, project_id: ProjectId) -> bool:
    """Say whether the project has a job that has not ended."""
    open_job = exists().where(_JOBS.c.project_id == project_id, _JOBS.c.finished_at.is_(None))
    return bool(session.scalars(select(open_job)).one())


def has_keys(session: Session) -> bool:
    """Say whether a key was ever made, good or not."""
    return bool(session.scalars(select(exists().where(ApiKey.id.is_not(None)))).one())


def find_key(session: Session, prefix: str) -> ApiKey | None:
    """Return the key that begins so, whatever project it is of."""
    return session.scalars(select(ApiKey).where(ApiKey.prefix == prefix)).one_or_none()


def get_key(session: Session, key_id: str, *, project_id: ProjectId | None) -> ApiKey:
    """Return a key of the project; of any with None.

    Raises:
        ApiKeyNotFoundError: There is no such key.
    """
    statement = select(ApiKey).where(ApiKey.id == key_id)
    if project_id is not None:
        statement = statement.where(ApiKey.project_id == project_id)
    key = session.scalars(statement).one_or_none()
    if key is None:
        raise ApiKeyNotFoundError(key_id)
    return key


def list_keys(session: Session, cut: Cut[str], *, project_id: ProjectId) -> Sequence[ApiKey]:
    statement = select(ApiKey).where(ApiKey.project_id == project_id)
    return session.scalars(cut_by(statement, ApiKey.id, cut)).all()


def all_keys(session: Session) -> Sequence[tuple[ApiKey, str]]:
    """Return every key with the name of its project, by age."""
    statement = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id)
    return [(key, name) for key, name in session.execute(statement.order_by(ApiKey.id))]


def note_use(session: Session, key_id: ApiKeyId, *, now: datetime, at_most_every: timedelta) -> None:
    """Write down that a key was used, unless somebody did so a moment ago."""
    session.execute(
        update(ApiKey)
        .where(
            ApiKey.id == key_id,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - at_most_every),
        )
        .values(last_used_at=now)
        .execution_options(synchronize_session=False)
    )


def revoke_all(session: Session, project_id: ProjectId, *, now: datetime) -> None:
    session.execute(
        update(ApiKey)
        .where(ApiKey.project_id == project_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .execution_options(synchronize_session=False)
    )
