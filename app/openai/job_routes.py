"""HTTP face of fine-tuning jobs: parse, call one use case, answer. No rules live here."""

from typing import Annotated

from app.db.lists import Cut
from app.idempotency.once import once
from app.ids import JobId
from app.jobs.deps import ForecasterDep, HintDep
from app.jobs.states import Action
from app.openai import job_service as service
from app.openai.job_requests import FineTuningJobCreate
from app.openai.job_schemas import FineTuningCheckpoint, FineTuningEvent, FineTuningJob
from app.openai.routing import OpenAIPage, cut_of, router_of
from app.projects.quotas import Quotas
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep
from app.web.openai_errors import openai_errors

router = router_of("/fine_tuning/jobs", "fine-tuning")


@router.post("", responses=openai_errors(404, 409, 413, 415, 507))
@once
def openai_create_job(
    body: FineTuningJobCreate,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
    settings: SettingsDep,
    forecaster: ForecasterDep,
) -> FineTuningJob:
    """Queue a job that learns the conversations of a file."""
    job = service.create_job(
        database,
        project_id=project_id,
        request=body,
        allowed_models=settings.allowed_models,
        max_facts=settings.max_facts,
        defaults=Quotas.by_default(settings),
        forecaster=forecaster,
    )
    hint()
    return job


@router.get("")
def openai_list_jobs(
    project_id: ProjectDep, database: DatabaseDep, cut: Annotated[Cut[str], cut_of(limit=20, most=100)]
) -> OpenAIPage[FineTuningJob]:
    """List jobs, newest first, also those that were made otherwise."""
    return OpenAIPage[FineTuningJob].of(service.list_jobs(database, cut, project_id=project_id), cut)


@router.get("/{job_id}", responses=openai_errors(404))
def openai_get_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> FineTuningJob:
    """Read a job."""
    return service.get_job(database, project_id=project_id, job_id=job_id)


@router.post("/{job_id}/cancel", responses=openai_errors(404, 409))
@once
def openai_cancel_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> FineTuningJob:
    """End a job without a model."""
    return service.act_on_job(database, project_id=project_id, job_id=job_id, action=Action.CANCEL)


@router.post("/{job_id}/pause", responses=openai_errors(404, 409))
@once
def openai_pause_job(job_id: JobId, project_id: ProjectDep, database: DatabaseDep) -> FineTuningJob:
    """Stop a job until it is resumed. One that runs is `running` until it has come to a safe point."""
    return service.act_on_job(database, project_id=project_id, job_id=job_id, action=Action.PAUSE)


@router.post("/{job_id}/resume", responses=openai_errors(404, 409))
@once
def openai_resume_job(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
) -> FineTuningJob:
    """Queue a paused job again. It goes on where it stopped."""
    job = service.act_on_job(database, project_id=project_id, job_id=job_id, action=Action.RESUME)
    hint()
    return job


@router.get("/{job_id}/events", responses=openai_errors(404))
def openai_list_job_events(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: Annotated[Cut[str], cut_of(limit=20, most=100)],
) -> OpenAIPage[FineTuningEvent]:
    """List what happened to a job, newest first."""
    found = service.list_events(database, cut, project_id=project_id, job_id=job_id)
    return OpenAIPage[FineTuningEvent].of(found, cut)


@router.get("/{job_id}/checkpoints", responses=openai_errors(404))
def openai_list_job_checkpoints(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: Annotated[Cut[str], cut_of(limit=10, most=100)],
) -> OpenAIPage[FineTuningCheckpoint]:
    """List the checkpoints from which a job can go on, newest first."""
    found = service.list_checkpoints(database, cut, project_id=project_id, job_id=job_id)
    return OpenAIPage[FineTuningCheckpoint].of(found, cut)
