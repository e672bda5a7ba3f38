"""Use cases on projects and API keys. One function is one use case and one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import Caller, OperatorOnlyError, Scope
from app.clock import Clock
from app.db.engine import Database
from app.db.lists import Cut
from app.ids import ApiKeyId, ProjectId, new_id
from app.projects import repository
from app.projects.errors import (
    DefaultProjectError,
    ExpiryInThePastError,
    ProjectInUseError,
    ProjectNameTakenError,
    ProjectNotFoundError,
)
from app.projects.keys import new_key
from app.projects.models import DEFAULT_PROJECT, ApiKey, Project
from app.projects.schemas import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyRead,
    ApiKeyUpdate,
    ProjectCreate,
    ProjectQuotas,
    ProjectRead,
    ProjectUpdate,
)

log = structlog.get_logger(__name__)


def create_project(
    database: Database, clock: Clock, *, caller: Caller, request: ProjectCreate
) -> ProjectRead:
    """Make a project, without keys.

    Raises:
        OperatorOnlyError: The caller looks after its own project alone.
        ProjectNameTakenError: There is one of that name.
    """
    _require_operator(caller, "to make a project")
    try:
        with database.begin() as session:
            repository.check_name(session, request.name)
            project = repository.add_project(session, request.name, now=clock())
            _set_quotas(project, request.quotas)
    except IntegrityError:  # another one was quicker
        raise ProjectNameTakenError(request.name) from None
    log.info("project.created", made=project.id)
    return _shown(project)


def list_projects(database: Database, cut: Cut[str], *, caller: Caller) -> Sequence[ProjectRead]:
    """Return the projects that the caller may know of: all, or its own."""
    only = None if caller.is_operator else caller.project_id
    with database.read() as session:
        return [_shown(project) for project in repository.list_projects(session, cut, only=only)]


def get_project(database: Database, *, caller: Caller, project_id: ProjectId) -> ProjectRead:
    _require_known(caller, project_id)
    with database.read() as session:
        return _shown(repository.get_project(session, project_id))


def update_project(
    database: Database, *, caller: Caller, project_id: ProjectId, request: ProjectUpdate
) -> ProjectRead:
    """Rename a project, or change its quotas.

    Raises:
        ProjectNotFoundError: There is none, as far as the caller may know.
        OperatorOnlyError: It is the caller's own, and the caller is no operator.
        ProjectNameTakenError: Another one has that name.
    """
    _require_known(caller, project_id)
    _require_operator(caller, "to change a project")
    try:
        with database.begin() as session:
            project = repository.get_project(session, project_id, lock=True)
            if request.name is not None:
                repository.check_name(session, request.name, but=project.id)
                project.name = request.name
            if request.quotas is not None:
                _set_quotas(project, request.quotas)
    except IntegrityError:
        raise ProjectNameTakenError(str(request.name)) from None
    log.info("project.changed", changed=project_id)
    return _shown(project)


def delete_project(database: Database, clock: Clock, *, caller: Caller, project_id: ProjectId) -> None:
    """Close a project: its keys stop working, and what belongs to it is out of reach.

    Raises:
        ProjectNotFoundError: There is none, as far as the caller may know.
        OperatorOnlyError: It is the caller's own, and the caller is no operator.
        DefaultProjectError: It is the one of the operators.
        ProjectInUseError: It has jobs that have not ended.
    """
    _require_known(caller, project_id)
    _require_operator(caller, "to delete a project")
    with database.begin() as session:
        project = repository.get_project(session, project_id, lock=True)
        if project.id == DEFAULT_PROJECT:
            raise DefaultProjectError
        if repository.is_busy(session, project.id):
            raise ProjectInUseError(project.id)
        now = clock()
        project.deleted_at = now
        repository.revoke_all(session, project.id, now=now)
    log.info("project.deleted", deleted=project_id)


def create_key(database: Database, clock: Clock, *, caller: Caller, request: ApiKeyCreate) -> ApiKeyCreated:
    """Make a key for the caller's project; an operator may name another one. Returns its secret.

    Raises:
        ProjectNotFoundError: There is none, as far as the caller may know.
        ExpiryInThePastError: It would be of no use.
    """
    project_id = request.project_id or caller.project_id
    _require_known(caller, project_id)
    with database.begin() as session:
        project = repository.get_project(session, project_id, lock=True)
        made = _add_key(
            session,
            project,
            name=request.name,
            scopes=request.scopes,
            expires_at=request.expires_at,
            now=clock(),
        )
    log.info("key.created", made=made.id, prefix=made.prefix, scopes=made.scopes)
    return made


def create_key_for(
    database: Database,
    clock: Clock,
    *,
    project_name: str,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
) -> ApiKeyCreated:
    """Make a key for the project of that name, and the project if it is new.

    For whoever has the database at hand anyway.

    Raises:
        ExpiryInThePastError: It would be of no use.
    """
    with database.begin() as session:
        now = clock()
        project = repository.find_project(session, project_name)
        project = project or repository.add_project(session, project_name, now=now)
        return _add_key(session, project, name=name, scopes=scopes, expires_at=expires_at, now=now)


def list_keys(
    database: Database, cut: Cut[str], *, caller: Caller, project_id: ProjectId | None
) -> Sequence[ApiKeyRead]:
    """Return the keys of the caller's project, or of the one that an operator names."""
    wanted = project_id or caller.project_id
    if wanted != caller.project_id and not caller.is_operator:
        return []
    with database.read() as session:
        return [ApiKeyRead.of(key) for key in repository.list_keys(session, cut, project_id=wanted)]


def all_keys(database: Database) -> Sequence[tuple[ApiKeyRead, str]]:
    """Return every key there is, with the name of its project."""
    with database.read() as session:
        return [(ApiKeyRead.of(key), name) for key, name in repository.all_keys(session)]


def get_key(database: Database, *, caller: Caller, key_id: ApiKeyId) -> ApiKeyRead:
    with database.read() as session:
        return ApiKeyRead.of(repository.get_key(session, key_id, project_id=_within(caller)))


def update_key(
    database: Database, clock: Clock, *, caller: Caller, key_id: ApiKeyId, request: ApiKeyUpdate
) -> ApiKeyRead:
    """Rename a key, change what it allows, or when it expires.

    Raises:
        ApiKeyNotFoundError: There is no such key, as far as the caller may know.
        ExpiryInThePastError: A key that is not wanted any more is revoked.
    """
    given: Mapping[str, Any] = request.model_dump(exclude_unset=True)
    with database.begin() as session:
        key = repository.get_key(session, key_id, project_id=_within(caller))
        if request.name is not None:
            key.name = request.name
        if request.scopes is not None:
            key.scopes = _stored(request.scopes)
        if "expires_at" in given:
            key.expires_at = _in_the_future(request.expires_at, clock())
        shown = ApiKeyRead.of(key)
    log.info("key.changed", changed=key_id, fields=sorted(given))
    return shown


def revoke_key(database: Database, clock: Clock, *, caller: Caller | None, key_id: ApiKeyId) -> None:
    """Make a key worthless. One that was revoked before stays as it is.

    Args:
        caller: Who asks; None has the database at hand anyway.

    Raises:
        ApiKeyNotFoundError: There is no such key, as far as the caller may know.
    """
    within = None if caller is None else _within(caller)
    with database.begin() as session:
        key = repository.get_key(session, key_id, project_id=within)
        key.revoked_at = key.revoked_at or clock()
    log.info("key.revoked", revoked=key_id)


def _add_key(
    session: Session,
    project: Project,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
    now: datetime,
) -> ApiKeyCreated:
    made = new_key()
    key = ApiKey(
        id=ApiKeyId(new_id("key", now=now)),
        project_id=project.id,
        name=name,
        prefix=made.prefix,
        sha256=made.sha256,
        scopes=_stored(scopes),
        created_at=now,
        expires_at=_in_the_future(expires_at, now),
    )
    session.add(key)
    session.flush()
    return ApiKeyCreated(**ApiKeyRead.of(key).model_dump(), secret=made.secret)


def _stored(scopes: Iterable[Scope]) -> list[str]:
    wanted = set(scopes)
    return [scope.value for scope in Scope if scope in wanted]


def _in_the_future(expires_at: datetime | None, now: datetime) -> datetime | None:
    if expires_at is not None and expires_at <= now:
        raise ExpiryInThePastError
    return expires_at


def _within(caller: Caller) -> ProjectId | None:
    return None if caller.is_operator else caller.project_id


def _require_known(caller: Caller, project_id: str) -> None:
    if project_id != caller.project_id and not caller.is_operator:
        raise ProjectNotFoundError(project_id)


def _require_operator(caller: Caller, what: str) -> None:
    if not caller.is_operator:
        raise OperatorOnlyError(what)


def _set_quotas(project: Project, quotas: ProjectQuotas) -> None:
    for name, value in quotas.model_dump(exclude_unset=True).items():
        setattr(project, f"quota_{name}", value)


def _shown(project: Project) -> ProjectRead:
    own = {name: getattr(project, f"quota_{name}") for name in ProjectQuotas.model_fields}
    return ProjectRead(
        id=project.id, name=project.name, quotas=ProjectQuotas(**own), created_at=project.created_at
    )
