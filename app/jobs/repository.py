"""Rows of `jobs`: what users do to them, and what anyone may read. Workers: `app.jobs.leases`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import case, func, literal, null, select, update
from sqlalchemy.orm import Session

from app.events import repository as events
from app.events.repository import NewEvent
from app.ids import JobId, ProjectId
from app.jobs.errors import JobNotFoundError, JobStateConflictError
from app.jobs.models import Job, JobPhase
from app.jobs.states import ACTIONS, ALREADY, Action, JobStatus

_SAID: Final = {
    JobStatus.CANCELLED: "job.cancelled",
    JobStatus.CANCELLING: "job.cancelling",
    JobStatus.PAUSED: "job.paused",
    JobStatus.PAUSING: "job.pausing",
    JobStatus.QUEUED: "job.queued",
}


def get_job(session: Session, job_id: str, *, project_id: ProjectId) -> Job:
    """Return one of the project's jobs.

    Raises:
        JobNotFoundError: The project has no such job, though another one may.
    """
    statement = select(Job).where(Job.id == job_id, Job.project_id == project_id)
    job = session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def act(session: Session, job_id: JobId, action: Action, *, project_id: ProjectId, now: datetime) -> Job:
    """Do what a user asks, atomically and only from a status that allows it.

    Asking again for what was asked before changes nothing and is no error.

    Raises:
        JobNotFoundError: The project has no such job.
        JobStateConflictError: The job's status does not allow `action`.
    """
    moves = ACTIONS[action]
    target = case(*[(Job.status == source, literal(to, Job.status.type)) for source, to in moves.items()])
    ends = [status for status, to in moves.items() if to == JobStatus.CANCELLED]
    values: dict[str, Any] = {
        "status": target,
        "event_seq": Job.event_seq + 1,
        "finished_at": case((Job.status.in_(ends), now), else_=null()),
    }
    if action is Action.RESUME:
        values |= {"next_run_at": now, "wait_reason": None}
    if action is Action.RETRY:
        values |= _RETRY | {"next_run_at": now, "attempt_limit": Job.attempt + 20}
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.project_id == project_id, Job.status.in_(moves))
        .values(values)
        .returning(Job)
        .execution_options(populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is not None:
        said = NewEvent(_SAID[job.status], f"{action} was asked for")
        events.append(session, job.id, [said], last_seq=job.event_seq, attempt=job.attempt, now=now)
        return job

    job = get_job(session, job_id, project_id=project_id)
    if job.status in ALREADY[action]:
        return job
    raise JobStateConflictError(job_id, job.status, action)


_RETRY: Final[dict[str, Any]] = {
    "fence": Job.fence + 1,
    "attempt_open": False,
    "crash_streak": 0,
    "oom_count": 0,
    "error_category": None,
    "error_code": None,
    "error_message": None,
    "error_retryable": None,
}


def list_jobs(
    session: Session,
    *,
    project_id: ProjectId,
    before: str | None,
    limit: int,
    status: JobStatus | None = None,
    fact_set_id: str | None = None,
) -> Sequence[Job]:
    """Return the project's jobs, newest first, from the one behind `before`."""
    statement = select(Job).where(Job.project_id == project_id).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Job.id < before)
    if status is not None:
        statement = statement.where(Job.status == status)
    if fact_set_id is not None:
        statement = statement.where(Job.fact_set_id == fact_set_id)
    return session.scalars(statement).all()


def phases_of(session: Session, job_id: JobId) -> Sequence[JobPhase]:
    """Return how far each phase has come, in the order in which they began."""
    return session.scalars(
        select(JobPhase).where(JobPhase.job_id == job_id).order_by(JobPhase.started_at)
    ).all()


def queue_position(session: Session, job: Job) -> int | None:
    """Return how many jobs are claimed before this one, counted from 1; None if it is not queued."""
    if job.status is not JobStatus.QUEUED:
        return None
    ahead = select(func.count()).where(
        Job.status == JobStatus.QUEUED,
        Job.queue == job.queue,
        (Job.priority > job.priority)
        | (
            (Job.priority == job.priority)
            & (
                (Job.next_run_at < job.next_run_at)
                | ((Job.next_run_at == job.next_run_at) & (Job.id < job.id))
            )
        ),
    )
    return session.scalars(ahead).one() + 1


def has_queued(session: Session, *, queue: str, now: datetime) -> bool:
    """Say whether a job of `queue` could be claimed now."""
    due = select(Job.id).where(Job.status == JobStatus.QUEUED, Job.queue == queue, Job.next_run_at <= now)
    return session.scalars(due.limit(1)).one_or_none() is not None
