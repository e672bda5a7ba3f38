"""Use cases on jobs. One function is one use case and one transaction."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.base_models.catalogue import revision_for
from app.db.base import JsonObject
from app.db.engine import Database
from app.db.lists import Cut
from app.fact_sets import reading
from app.fact_sets import repository as fact_sets
from app.fact_sets.errors import FactSetNotFoundError
from app.fact_sets.reading import Upload
from app.idempotency import repository as answers
from app.ids import FactSetId, JobId, ProjectId
from app.jobs import adding, attempts, parents, quotas, repository
from app.jobs.adding import Facts, Standing
from app.jobs.errors import SuiteNotMeasuredError
from app.jobs.forecasts import Forecaster, Wanted
from app.jobs.models import (
    CONTINUING,
    MULTIPLIED_RATES,
    OPEN_RATES,
    SEVERAL_VARIANTS,
    Checkpoint,
    Job,
    JobAttempt,
)
from app.jobs.requests import GateOptions, JobChange, JobCreate, RetryFrom
from app.jobs.schemas import JobRead
from app.jobs.states import Action, JobKind, JobStatus
from app.jobs.variants import expanded, type_of
from app.projects import quotas as project_quotas
from app.projects.quotas import NONE, Quotas
from app.storage import ArtifactStore
from app.webhooks import outbox

log = structlog.get_logger(__name__)


def create_job(
    database: Database,
    *,
    project_id: ProjectId,
    request: JobCreate,
    allowed_models: Collection[str],
    max_facts: int,
    defaults: Quotas = NONE,
    forecaster: Forecaster | None = None,
    store: ArtifactStore | None = None,
) -> JobRead:
    """Store a new job, and with it the fact set if the facts came along.

    With a `forecaster` the job keeps what is expected of it. In `store` the shape of a parent is looked up.

    Tells nobody: the caller may send a hint once this has returned, and a sweeper does so anyway.

    Raises:
        ModelNotAllowedError: The model or its revision may not be used.
        InvalidFactsError: Something is wrong with the facts that came along.
        TooManyFactsError: There are too many of them.
        FactSetNotFoundError: The project has no such fact set.
        AppError: The job cannot start from its parent, see `app.jobs.parents`.
        SuiteNotMeasuredError: The gate is on a suite that the facts have no question of.
        QuotaExceededError: The project has used up what it may have; `defaults` holds for one
            without quotas of its own.
    """
    revision = revision_for(request.base_model, request.revision, allowed=allowed_models)
    upload = None if request.facts is None else reading.read_inline(request.facts, max_facts=max_facts)
    settings, parent = request.settings(), None
    if request.parent_adapter_id is not None:
        with database.read() as session:
            parent = parents.find_parent(session, store, request, upload, project_id=project_id)
    if parent is not None:
        settings, revision = parents.shaped(settings, request, parent), parent.base_revision
    forecast = None
    if forecaster is not None:
        wanted = Wanted(request.base_model, revision, settings, parent.counts if parent else None)
        forecast = forecaster.at_creation(
            database, wanted, upload, project_id=project_id, fact_set_id=request.fact_set_id
        )
    with database.begin() as session:
        found = adding.standing(
            database, session, project_id=project_id, fact_set_id=request.fact_set_id, defaults=defaults
        )
        facts = _facts(session, request, upload, found, project_id=project_id)
        check_gate(session, request.evaluation.gate, facts.id)
        job = _new_job(request, settings, facts, revision=revision, project_id=project_id, now=found.now)
        if parent is not None:
            parents.hold_parent(session, parent, project_id=project_id)
            job.parent_adapter_id, job.parent_fact_set_id = parent.adapter_id, parent.fact_set_id
            job.min_worker_version = max(job.min_worker_version, CONTINUING)
        job.forecast = forecast
        shown = adding.add_job(session, job, now=found.now)
    log.info("job.created", job_id=job.id, fact_set_id=facts.id)
    return shown


def _facts(
    session: Session,
    request: JobCreate,
    upload: Upload | None,
    found: Standing,
    *,
    project_id: ProjectId,
) -> Facts:
    if upload is not None:
        stored = fact_sets.add_fact_set(
            session, upload.facts, project_id=project_id, name=request.name, now=found.now
        )
        return Facts(stored.id, stored.sha256)
    if found.facts is None:
        raise FactSetNotFoundError(request.fact_set_id or "")
    return found.facts


def check_gate(session: Session, gate: GateOptions | None, fact_set_id: FactSetId) -> None:
    """Do nothing if the facts have questions of the suite that the gate is on.

    Raises:
        SuiteNotMeasuredError: They have none.
    """
    if gate and not fact_sets.has_questions(session, fact_set_id, gate.suite):
        raise SuiteNotMeasuredError(gate.suite)


def check_gate_inline(gate: GateOptions, upload: Upload) -> None:
    """Do the same for facts that are not stored.

    Raises:
        SuiteNotMeasuredError: They have none.
    """
    if not fact_sets.have_questions((json.loads(body) for _, body in upload.facts.rows()), gate.suite):
        raise SuiteNotMeasuredError(gate.suite)


def _new_job(
    request: JobCreate,
    settings: JsonObject,
    facts: Facts,
    *,
    revision: str | None,
    project_id: ProjectId,
    now: datetime,
) -> Job:
    return adding.job_of(
        settings,
        {"facts": facts.sha256},
        project_id=project_id,
        now=now,
        kind=JobKind.TRAINING,
        fact_set_id=facts.id,
        base_model=request.base_model,
        base_revision=revision,
        method_type=type_of(settings["method"]),
        method=settings["method"],
        training=settings["training"],
        evaluation=settings["evaluation"],
        gpus=request.training.processes,
        min_worker_version=_least_worker(settings),
    )


def _least_worker(settings: JsonObject) -> int:
    """Return the version of a worker that knows every setting of a job."""
    methods = expanded(settings["method"])
    if "learning_rate_multiplier" in settings["training"]:
        return MULTIPLIED_RATES
    if settings["training"]["learning_rate"] is None:
        return OPEN_RATES
    if any(method.get("verifier") == "contains_strict" for method in methods):
        return OPEN_RATES
    return SEVERAL_VARIANTS if methods != [settings["method"]] else 0


def get_job(database: Database, *, project_id: ProjectId, job_id: JobId) -> JobRead:
    with database.glance() as session:
        job = repository.get_job(session, job_id, project_id=project_id)
        return _show(database, session, [job])[0]


def list_jobs(
    database: Database,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    status: JobStatus | None,
    fact_set_id: str | None,
    kind: JobKind | None = None,
) -> Sequence[JobRead]:
    with database.glance() as session:
        jobs = repository.list_jobs(
            session, cut, project_id=project_id, status=status, fact_set_id=fact_set_id, kind=kind
        )
        return _show(database, session, jobs)


def list_attempts(
    database: Database, cut: Cut[int], *, project_id: ProjectId, job_id: JobId
) -> Sequence[JobAttempt]:
    with database.read() as session:
        job = repository.get_job(session, job_id, project_id=project_id)
        return attempts.list_attempts(session, job.id, cut)


def list_checkpoints(
    database: Database, cut: Cut[str], *, project_id: ProjectId, job_id: JobId
) -> Sequence[Checkpoint]:
    with database.read() as session:
        job = repository.get_job(session, job_id, project_id=project_id)
        return attempts.list_checkpoints(session, job.id, cut)


def act_on_job(database: Database, *, project_id: ProjectId, job_id: JobId, action: Action) -> JobRead:
    """Cancel, pause or resume a job: at once if it waits, at its next safe point if it runs.

    Raises:
        JobNotFoundError: The project has no such job.
        JobStateConflictError: The job's status does not allow it.
    """
    with database.begin() as session:
        now = database.now(session)
        job = repository.act(session, job_id, action, project_id=project_id, now=now)
        shown = _show(database, session, [job])[0]
    log.info("job.action_taken", job_id=job_id, action=str(action), status=shown.status)
    return shown


def retry_job(
    database: Database,
    *,
    project_id: ProjectId,
    job_id: JobId,
    start: RetryFrom,
    defaults: Quotas = NONE,
) -> JobRead:
    """Open a job that failed or was cancelled again, for a new attempt.

    It goes on from what was made before, or does everything anew.

    Raises:
        JobNotFoundError: The project has no such job.
        JobStateConflictError: The job has not failed, nor was it cancelled.
        QuotaExceededError: The project has used up what it may have.
    """
    with database.begin() as session:
        now = database.now(session)
        repository.get_job(session, job_id, project_id=project_id)
        limits = project_quotas.of_project(session, project_id, defaults)
        quotas.check_may_queue(session, project_id, limits, now=now)
        data = {"from": str(start)}
        job = repository.act(session, job_id, Action.RETRY, project_id=project_id, now=now, data=data)
        if start is RetryFrom.START:
            repository.forget_work(session, job)
        shown = _show(database, session, [job])[0]
    log.info("job.action_taken", job_id=job_id, action=str(Action.RETRY), status=shown.status)
    return shown


def change_job(database: Database, *, project_id: ProjectId, job_id: JobId, changes: JobChange) -> JobRead:
    """Change what a user calls a job and, while it waits, its priority. What it does stays.

    Raises:
        JobNotFoundError: The project has no such job.
        PriorityFixedError: Its priority was to change, and it neither is queued nor paused.
    """
    with database.begin() as session:
        job = repository.change_job(session, job_id, changes.columns(), project_id=project_id)
        shown = _show(database, session, [job])[0]
    log.info("job.changed", job_id=job_id)
    return shown


def delete_job(database: Database, *, project_id: ProjectId, job_id: JobId) -> None:
    """Delete a job that has ended, with its events, supervision and evaluation. Its adapter stays.

    Raises:
        JobNotFoundError: The project has no such job.
        JobStateConflictError: The job has not ended.
    """
    with database.begin() as session:
        job = repository.get_job(session, job_id, project_id=project_id)
        if repository.hold(session, job.id):  # its events go with it, and webhooks may not know of them yet
            outbox.note_all_of(session, job.id, now=database.now(session))
        repository.delete_job(session, job_id, project_id=project_id)
        answers.forget_location(session, project_id, f"/jobs/{job_id}")
    log.info("job.deleted", job_id=job_id)


def _show(database: Database, session: Session, jobs: Sequence[Job]) -> list[JobRead]:
    """Show jobs. What jobs as these cannot have is not asked for: they are polled, so a query counts."""
    begun = [job.id for job in jobs if job.attempt]
    phases = repository.phases_of(session, begun) if begun else {}
    ended = [job.id for job in jobs if job.status is JobStatus.SUCCEEDED]
    made = adapters.by_job(session, ended) if ended else {}
    queued = [job for job in jobs if job.status is JobStatus.QUEUED]
    places = repository.queue_positions(session, queued, now=database.now(session)) if queued else {}
    return [
        JobRead.of(
            job,
            phases.get(job.id, ()),
            adapters=made.get(job.id, ()),
            queue_position=places.get(job.id),
        )
        for job in jobs
    ]
