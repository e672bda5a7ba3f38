"""HTTP face of the queue and the workers: parse, call one use case, answer."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.fleet import service
from app.fleet.schemas import QueueRead, WorkerRead
from app.projects.quotas import Quotas
from app.web.deps import CallerDep, DatabaseDep, SettingsDep
from app.web.paging import MAX_LIMIT, IdCutDep, Page
from app.web.problems import problems

router = APIRouter(tags=["fleet"])


@router.get("/queue")
def get_queue(
    caller: CallerDep,
    database: DatabaseDep,
    settings: SettingsDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most jobs of each list.")] = 20,
) -> QueueRead:
    """Say what waits and runs of one's project, in order, and when it may begin.

    An operator is also told how many jobs each project has.
    """
    return service.get_queue(
        database, caller, limit=limit, lease=settings.lease, defaults=Quotas.by_default(settings)
    )


@router.get("/workers", responses=problems(400))
def list_workers(
    cut: IdCutDep, caller: CallerDep, database: DatabaseDep, settings: SettingsDep
) -> Page[WorkerRead]:
    """List who runs jobs, newest first. Hosts, and the jobs of other projects, are for operators."""
    rows = service.list_workers(database, cut, caller, lease=settings.lease)
    return Page[WorkerRead].of(rows, cut)
