"""HTTP face of projects and API keys: parse, call one use case, answer. No rules live here."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.idempotency.once import once
from app.ids import ApiKeyId, ProjectId
from app.projects import service
from app.projects.schemas import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyRead,
    ApiKeyUpdate,
    ProjectCreate,
    ProjectRead,
    ProjectUpdate,
)
from app.web.body import StrictRoute
from app.web.deps import CallerDep, ClockDep, DatabaseDep, DoorkeeperDep
from app.web.paging import IdCutDep, NameCutDep, Page
from app.web.problems import problems

router = APIRouter(route_class=StrictRoute)

_BODY = (400, 413, 415)
OfProject = Annotated[
    ProjectId | None, Query(max_length=40, description="Another one than your own: operators only.")
]


@router.post(
    "/projects", status_code=status.HTTP_201_CREATED, responses=problems(*_BODY, 409), tags=["projects"]
)
@once
def create_project(
    body: ProjectCreate,
    request: Request,
    response: Response,
    caller: CallerDep,
    database: DatabaseDep,
    clock: ClockDep,
) -> ProjectRead:
    """Make a project. Takes an admin key of the default project."""
    project = service.create_project(database, clock, caller=caller, request=body)
    response.headers["Location"] = request.app.url_path_for("get_project", project_id=project.id)
    return project


@router.get("/projects", responses=problems(400), tags=["projects"])
def list_projects(caller: CallerDep, database: DatabaseDep, cut: NameCutDep) -> Page[ProjectRead]:
    """List projects, by id: all of them for an operator, else one's own."""
    return Page[ProjectRead].of(service.list_projects(database, cut, caller=caller), cut)


@router.get("/projects/{project_id}", responses=problems(404), tags=["projects"])
def get_project(project_id: ProjectId, caller: CallerDep, database: DatabaseDep) -> ProjectRead:
    """Read a project, with the quotas of its own."""
    return service.get_project(database, caller=caller, project_id=project_id)


@router.patch("/projects/{project_id}", responses=problems(*_BODY, 404, 409), tags=["projects"])
def update_project(
    project_id: ProjectId, body: ProjectUpdate, caller: CallerDep, database: DatabaseDep
) -> ProjectRead:
    """Rename a project, or change its quotas. Takes an admin key of the default project."""
    return service.update_project(database, caller=caller, project_id=project_id, request=body)


@router.delete(
    "/projects/{project_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(404, 409),
    tags=["projects"],
)
def delete_project(
    project_id: ProjectId,
    caller: CallerDep,
    database: DatabaseDep,
    clock: ClockDep,
    doorkeeper: DoorkeeperDep,
) -> None:
    """Close a project in which no job is under way. Takes an admin key of the default project."""
    service.delete_project(database, clock, caller=caller, project_id=project_id)
    doorkeeper.forget()


@router.post(
    "/api-keys", status_code=status.HTTP_201_CREATED, responses=problems(*_BODY, 404), tags=["api keys"]
)
def create_api_key(
    body: ApiKeyCreate,
    request: Request,
    response: Response,
    caller: CallerDep,
    database: DatabaseDep,
    clock: ClockDep,
    doorkeeper: DoorkeeperDep,
) -> ApiKeyCreated:
    """Make a key. Its secret is in this answer and nowhere else."""
    key = service.create_key(database, clock, caller=caller, request=body)
    doorkeeper.forget()
    response.headers["Location"] = request.app.url_path_for("get_api_key", key_id=key.id)
    return key


@router.get("/api-keys", responses=problems(400), tags=["api keys"])
def list_api_keys(
    caller: CallerDep, database: DatabaseDep, cut: IdCutDep, project_id: OfProject = None
) -> Page[ApiKeyRead]:
    """List the keys of a project, newest first, those that are revoked or expired too."""
    return Page[ApiKeyRead].of(service.list_keys(database, cut, caller=caller, project_id=project_id), cut)


@router.get("/api-keys/{key_id}", responses=problems(404), tags=["api keys"])
def get_api_key(key_id: ApiKeyId, caller: CallerDep, database: DatabaseDep) -> ApiKeyRead:
    """Read what is known of a key: all but its secret."""
    return service.get_key(database, caller=caller, key_id=key_id)


@router.patch("/api-keys/{key_id}", responses=problems(*_BODY, 404), tags=["api keys"])
def update_api_key(
    key_id: ApiKeyId,
    body: ApiKeyUpdate,
    caller: CallerDep,
    database: DatabaseDep,
    clock: ClockDep,
    doorkeeper: DoorkeeperDep,
) -> ApiKeyRead:
    """Rename a key, change what it allows, or when it expires."""
    key = service.update_key(database, clock, caller=caller, key_id=key_id, request=body)
    doorkeeper.forget()
    return key


@router.delete(
    "/api-keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404), tags=["api keys"]
)
def revoke_api_key(
    key_id: ApiKeyId, caller: CallerDep, database: DatabaseDep, clock: ClockDep, doorkeeper: DoorkeeperDep
) -> None:
    """Make a key worthless, for good. It stays in the list."""
    service.revoke_key(database, clock, caller=caller, key_id=key_id)
    doorkeeper.forget()
