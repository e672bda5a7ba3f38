"""HTTP face of estimates: parse, call the use case, answer."""

from fastapi import APIRouter

from app.estimates import service
from app.estimates.schemas import Estimate
from app.jobs.deps import ForecasterDep
from app.jobs.requests import JobCreate
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep, StoreDep
from app.web.problems import problems

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=StrictRoute)


@router.post("/estimate", responses=problems(400, 404, 409, 413, 415, 422))
def estimate_job(
    body: JobCreate,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    forecaster: ForecasterDep,
    store: StoreDep,
) -> Estimate:
    """Say what a job would take: tokens, time, memory, disk, and when it would start. Stores nothing."""
    return service.estimate_job(
        database,
        project_id=project_id,
        request=body,
        allowed_models=settings.allowed_models,
        max_facts=settings.max_facts,
        forecaster=forecaster,
        lease=settings.lease,
        store=store,
    )
