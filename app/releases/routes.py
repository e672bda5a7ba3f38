"""HTTP face of releases and deletions: parse, call one use case, answer."""

from typing import Final

from fastapi import APIRouter, status

from app.adapters.schemas import AdapterRead
from app.idempotency.once import once
from app.ids import AdapterId
from app.releases import service
from app.releases.schemas import AdapterRelease
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep
from app.web.problems import problems

router = APIRouter(prefix="/adapters", tags=["adapters"], route_class=StrictRoute)

_NO_REASON: Final = AdapterRelease()


@router.post("/{adapter_id}/release", responses=problems(400, 404, 409, 413, 415))
@once
def release_adapter(
    adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep, body: AdapterRelease = _NO_REASON
) -> AdapterRead:
    """Let go of an adapter that its job's gate holds back. Its files can be fetched from then on."""
    return service.release_adapter(database, project_id=project_id, adapter_id=adapter_id, reason=body.reason)


@router.delete("/{adapter_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
def delete_adapter(adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep) -> None:
    """Delete an adapter with its exports. The report of its job stays."""
    service.delete_adapter(database, project_id=project_id, adapter_id=adapter_id)
