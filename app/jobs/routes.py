"""HTTP face of jobs: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response, status

from app.idempotency.once import once
from app.ids import JobId
from app.jobs import service
from app.jobs.deps import ForecasterDep, HintDep
from app.jobs.requests import JobChange, JobCreate, JobRetry
from app.jobs.schemas import AttemptRead, CheckpointRead, JobRead
from app.jobs.states import Action, JobKind, JobStatus
from app.projects.quotas import Quotas
from app.web.answering import at_once
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep, StoreDep
from app.web.paging import IdCutDep, NumberCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=StrictRoute)

_FROM_CHECKPOINT: Final = JobRetry()


@router.post("", status_code=status.HTTP_202_ACCEPTED, responses=problems(400, 404, 409, 413, 415, 422, 507))
@once
def create_job(
    body: JobCreate,
    request: Request,
    response: Response,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
    settings: SettingsDep,
    forecaster: ForecasterDep,
    store: StoreDep,
) -> JobRead:
    """Queue a job. Poll the URL in `Location`, or read its events, for the outcome."""
    job = service.create_job(
        database,
        project_id=project_id,
        request=body,
        allowed_models=settings.allowed_models,
        max_facts=settings.max_facts,
        defaults=Quotas.by_default(settings),
        forecaster=forecaster,
        store=store,
    )
    hint()
    response.headers["Location"] = request.app.url_path_for("get_job", job_id=job.id)
    return job


@router.get("", responses=problems(400))
@at_once
def list_jobs(
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: IdCutDep,
    job_status: Annotated[JobStatus | None, Query(alias="status")] = None,
    fact_set_id: str | None = None,
    kind: JobKind | None = None,
) -> Page[JobRead]:
    """List jobs, newest first."""
    jobs = service.list_jobs(
        database, cut, project_id=project_id, status=job_status, fact_set_id=fact_set_id, kind=kind
    )
    return Page[JobRead].of(jobs, cut)


@router.get("/{job_id}", responses=problems(404))
@at_once
def get_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> JobRead:
    """Read a job."""
    return service.get_job(database, project_id=project_id, job_id=job_id)


@router.patch("/{job_id}", responses=problems(400, 404, 409, 413, 415))
def change_job(body: JobChange, job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> JobRead:
    """Change the name and metadata of a job and, while it is queued or paused, its priority."""
    return service.change_job(database, project_id=project_id, job_id=job_id, changes=body)


@router.post("/{job_id}/cancel", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 409))
@once
def cancel_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> JobRead:
    """End a job without an adapter: at once if it waits, within seconds if it runs."""
    return service.act_on_job(database, project_id=project_id, job_id=job_id, action=Action.CANCEL)


@router.post("/{job_id}/pause", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 409))
@once
def pause_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> JobRead:
    """Stop a job until it is resumed: at once if it waits, within seconds if it runs. Its work is kept."""
    return service.act_on_job(database, project_id=project_id, job_id=job_id, action=Action.PAUSE)


@router.post("/{job_id}/resume", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 409))
@once
def resume_job(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
) -> JobRead:
    """Queue a paused job again, behind those of its priority. It goes on where it stopped."""
    job = service.act_on_job(database, project_id=project_id, job_id=job_id, action=Action.RESUME)
    hint()
    return job


@router.post(
    "/{job_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(400, 404, 409, 413, 415),
)
@once
def retry_job(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
    settings: SettingsDep,
    body: JobRetry = _FROM_CHECKPOINT,
) -> JobRead:
    """Queue a job that failed or was cancelled again, as a new attempt."""
    job = service.retry_job(
        database,
        project_id=project_id,
        job_id=job_id,
        start=body.start,
        defaults=Quotas.by_default(settings),
    )
    hint()
    return job


@router.delete("/{job_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409))
def delete_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> None:
    """Delete a job that has ended, with all that was written down about it. Its adapter stays."""
    service.delete_job(database, project_id=project_id, job_id=job_id)


@router.get("/{job_id}/attempts", responses=problems(400, 404))
def list_job_attempts(
    job_id: JobId, project_id: ProjectDep, database: DatabaseDep, cut: NumberCutDep
) -> Page[AttemptRead]:
    """List the attempts at a job, in order."""
    rows = service.list_attempts(database, cut, project_id=project_id, job_id=job_id)
    return Page[AttemptRead].of([AttemptRead.of(row) for row in rows], cut, key="attempt")


@router.get("/{job_id}/checkpoints", responses=problems(400, 404))
def list_job_checkpoints(
    job_id: JobId, project_id: ProjectDep, database: DatabaseDep, cut: IdCutDep
) -> Page[CheckpointRead]:
    """List the checkpoints from which a job can go on, newest first."""
    rows = service.list_checkpoints(database, cut, project_id=project_id, job_id=job_id)
    return Page[CheckpointRead].of(rows, cut)
