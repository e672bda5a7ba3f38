"""Use cases on fine-tuning jobs: those of `app.jobs`, in OpenAI's words."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.base_models.errors import ModelNotAllowedError
from app.db.engine import Database
from app.db.lists import Cut, cut_by
from app.events.models import Event
from app.fact_sets.errors import FactSetNotFoundError
from app.files import repository as files
from app.files.errors import UploadedFileNotFoundError
from app.ids import JobId, ProjectId
from app.jobs import repository, service
from app.jobs.errors import JobNotFoundError
from app.jobs.forecasts import Forecaster
from app.jobs.models import Checkpoint, Job
from app.jobs.schemas import JobRead
from app.jobs.states import Action, JobKind, Phase
from app.metrics.models import JobMetric
from app.openai.errors import BadAfterError, TrainingFileNotFoundError, UnknownModelError
from app.openai.job_requests import FineTuningJobCreate
from app.openai.job_schemas import FineTuningCheckpoint, FineTuningEvent, FineTuningJob
from app.projects.quotas import Quotas

_FACT_SET = "fset_"
_ADAPTER = "adp_"


def create_job(
    database: Database,
    *,
    project_id: ProjectId,
    request: FineTuningJobCreate,
    allowed_models: Collection[str],
    max_facts: int,
    defaults: Quotas,
    forecaster: Forecaster,
) -> FineTuningJob:
    """Queue a job that learns a file, or a fact set.

    Raises:
        UnknownModelError: The model is none that may be trained.
        TrainingFileNotFoundError: The project has no such file, or it was deleted.
        SuiteNotMeasuredError: The gate is on a suite that the facts have no question of.
        QuotaExceededError: The project has used up what it may have.
    """
    if request.model.startswith(_ADAPTER):
        raise UnknownModelError("an adapter cannot be trained further: name its base model")
    fact_set_id = _facts_of(database, request.training_file, project_id=project_id)
    try:
        job = service.create_job(
            database,
            project_id=project_id,
            request=request.job(fact_set_id),
            allowed_models=allowed_models,
            max_facts=max_facts,
            defaults=defaults,
            forecaster=forecaster,
        )
    except FactSetNotFoundError:
        raise TrainingFileNotFoundError(request.training_file) from None
    except ModelNotAllowedError as error:
        raise UnknownModelError(str(error)) from None
    with database.read() as session:
        return _shown(session, [job], project_id)[0]


def _facts_of(database: Database, training_file: str, *, project_id: ProjectId) -> str:
    if training_file.startswith(_FACT_SET):
        return training_file
    try:
        with database.read() as session:
            return files.get_file(session, training_file, project_id=project_id).fact_set_id
    except UploadedFileNotFoundError:
        raise TrainingFileNotFoundError(training_file) from None


def get_job(database: Database, *, project_id: ProjectId, job_id: JobId) -> FineTuningJob:
    """Return a job that trains.

    Raises:
        JobNotFoundError: The project has none of that id, or it measures an adapter.
    """
    job = service.get_job(database, project_id=project_id, job_id=job_id)
    if job.kind is not JobKind.TRAINING:
        raise JobNotFoundError(job_id)
    with database.read() as session:
        return _shown(session, [job], project_id)[0]


def list_jobs(database: Database, cut: Cut[str], *, project_id: ProjectId) -> Sequence[FineTuningJob]:
    jobs = service.list_jobs(
        database, cut, project_id=project_id, status=None, fact_set_id=None, kind=JobKind.TRAINING
    )
    with database.read() as session:
        return _shown(session, jobs, project_id)


def act_on_job(database: Database, *, project_id: ProjectId, job_id: JobId, action: Action) -> FineTuningJob:
    """Cancel, pause or resume a job that trains.

    Raises:
        JobNotFoundError: The project has no such job.
        JobStateConflictError: Its status does not allow it.
    """
    with database.read() as session:
        _training_job(session, job_id, project_id=project_id)
    job = service.act_on_job(database, project_id=project_id, job_id=job_id, action=action)
    with database.read() as session:
        return _shown(session, [job], project_id)[0]


def list_events(
    database: Database, cut: Cut[str], *, project_id: ProjectId, job_id: JobId
) -> Sequence[FineTuningEvent]:
    """Return what happened to a job, the newest first, behind an event of it.

    Raises:
        JobNotFoundError: The project has no such job.
        BadAfterError: It has no such event.
    """
    with database.read() as session:
        job = _training_job(session, job_id, project_id=project_id)
        of_job = select(Event).where(Event.job_id == job.id)
        before: int | None = None
        if cut.after is not None:
            before = session.scalars(
                select(Event.seq).where(Event.job_id == job.id, Event.id == cut.after)
            ).one_or_none()
            if before is None:
                raise BadAfterError
        rows = session.scalars(cut_by(of_job, Event.seq, Cut(cut.limit, before, ascending=False))).all()
        return [FineTuningEvent.of(row) for row in rows]


def list_checkpoints(
    database: Database, cut: Cut[str], *, project_id: ProjectId, job_id: JobId
) -> Sequence[FineTuningCheckpoint]:
    """Return the checkpoints of a job's training, the newest first.

    Raises:
        JobNotFoundError: The project has no such job.
    """
    with database.read() as session:
        job = _training_job(session, job_id, project_id=project_id)
        trained = select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.phase == Phase.TRAINING)
        rows = session.scalars(cut_by(trained, Checkpoint.id, cut)).all()
        losses = select(JobMetric.variant, JobMetric.step, JobMetric.value).where(
            JobMetric.job_id == job.id,
            JobMetric.name == "loss",
            JobMetric.step.in_([row.step for row in rows]),
        )
        found = {(variant, step): value for variant, step, value in session.execute(losses)}
        return [FineTuningCheckpoint.of(row, found.get((row.variant, row.step))) for row in rows]


def _training_job(session: Session, job_id: JobId, *, project_id: ProjectId) -> Job:
    job = repository.get_job(session, job_id, project_id=project_id)
    if job.kind is not JobKind.TRAINING:
        raise JobNotFoundError(job_id)
    return job


def _shown(session: Session, jobs: Sequence[JobRead], project_id: ProjectId) -> list[FineTuningJob]:
    made_of = files.of_fact_sets(session, [job.fact_set_id for job in jobs])
    return [
        FineTuningJob.of(job, project_id=project_id, file_id=made_of.get(job.fact_set_id)) for job in jobs
    ]
