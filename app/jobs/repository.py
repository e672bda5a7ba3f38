"""Rows of `jobs`: what users do to them, and what anyone may read. Workers: `app.jobs.leases`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Subquery, case, delete, func, literal, null, select, tuple_, update
from sqlalchemy.orm import Session

from app.db.base import JsonObject
from app.db.lists import Cut, cut_by
from app.events import repository as events
from app.events.repository import NewEvent
from app.ids import JobId, ProjectId
from app.jobs.attempts import close_attempt
from app.jobs.errors import JobNotFoundError, JobStateConflictError, PriorityFixedError
from app.jobs.models import Checkpoint, Job, JobPhase, JobResult, Supervision
from app.jobs.states import ACTIONS, ALREADY, TERMINAL, WAITING, Action, JobKind, JobStatus, Phase
from app.metrics.models import JobMetric

_ORDER: Final = {phase: place for place, phase in enumerate(Phase)}

FARTHEST_PLACE: Final = 1000
"""Places in a queue beyond this one are not counted: that would cost more, the longer the queue is."""

_SAID: Final = {Action.RESUME: "job.resumed", Action.RETRY: "job.requeued"}
"""Events of actions. Those of the others are called as the status that they lead to."""


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


def act(
    session: Session,
    job_id: JobId,
    action: Action,
    *,
    project_id: ProjectId,
    now: datetime,
    data: JsonObject | None = None,
) -> Job:
    """Do what a user asks, atomically and only from a status that allows it.

    Asking again for what was asked before changes nothing and is no error. `data` goes into the event.

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
        "wait_reason": None,
    }
    if action is Action.RESUME:
        values |= {"next_run_at": now}
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
        said = NewEvent(
            _SAID.get(action, f"job.{job.status}"),
            f"{action} was asked for",
            phase=job.phase,
            data=data or {},
        )
        events.append(session, job.id, [said], last_seq=job.event_seq, attempt=job.attempt, now=now)
        if job.status is JobStatus.CANCELLED:  # it waited within an attempt that nobody will end now
            close_attempt(session, job.id, job.attempt, "cancelled", now)
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


def forget_work(session: Session, job: Job) -> None:
    """Drop what the attempts of a waiting job have made, so that the next one begins as the first did.

    What it knows of its base model stays. The files of checkpoints are cleared away with the job's.
    """
    for table in (Supervision, Checkpoint, JobResult, JobPhase, JobMetric):
        session.execute(delete(table).where(table.job_id == job.id))
    job.micro_batch_override = None


def change_job(session: Session, job_id: JobId, changes: Mapping[str, Any], *, project_id: ProjectId) -> Job:
    """Set columns that a user may change.

    Raises:
        JobNotFoundError: The project has no such job.
        PriorityFixedError: `changes` has another priority, and the job does not wait.
    """
    if changes:
        statement = update(Job).where(Job.id == job_id, Job.project_id == project_id).values(changes)
        if "priority" in changes:
            same = Job.priority == changes["priority"]
            statement = statement.where(Job.status.in_(WAITING) | same)
        changed = session.scalars(statement.returning(Job.id)).one_or_none()
        if changed is None:
            job = get_job(session, job_id, project_id=project_id)
            raise PriorityFixedError(job.id, job.status)
    return get_job(session, job_id, project_id=project_id)


def delete_job(session: Session, job_id: str, *, project_id: ProjectId) -> None:
    """Delete a job that has ended, and what was written down about it. Its adapter stays.

    Raises:
        JobNotFoundError: The project has no such job.
        JobStateConflictError: The job has not ended.
    """
    deleted = session.execute(
        delete(Job)
        .where(Job.id == job_id, Job.project_id == project_id, Job.status.in_(TERMINAL))
        .returning(Job.id)
    )
    if deleted.one_or_none() is None:
        job = get_job(session, job_id, project_id=project_id)
        raise JobStateConflictError(job.id, job.status, Action.DELETE)


def hold(session: Session, job_id: JobId) -> bool:
    """Lock a job's row until the commit. False if the job was deleted."""
    statement = select(Job.id).where(Job.id == job_id).with_for_update()
    return session.scalars(statement).one_or_none() is not None


def tell(session: Session, job_id: JobId, new_events: Sequence[NewEvent], *, now: datetime) -> None:
    """Go on with the story of a job, also of one that has ended."""
    statement = (
        update(Job)
        .where(Job.id == job_id)
        .values(event_seq=Job.event_seq + len(new_events))
        .returning(Job.event_seq, Job.attempt)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one()
    events.append(session, job_id, new_events, last_seq=row.event_seq, attempt=row.attempt, now=now)


def list_jobs(
    session: Session,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    status: JobStatus | None = None,
    fact_set_id: str | None = None,
    kind: JobKind | None = None,
) -> Sequence[Job]:
    """Return the project's jobs, by age."""
    statement = select(Job).where(Job.project_id == project_id)
    if status is not None:
        statement = statement.where(Job.status == status)
    if fact_set_id is not None:
        statement = statement.where(Job.fact_set_id == fact_set_id)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    return session.scalars(cut_by(statement, Job.id, cut)).all()


def phases_of(session: Session, job_ids: Sequence[JobId]) -> Mapping[JobId, Sequence[JobPhase]]:
    """Return how far each phase of these jobs has come, in the order of `Phase`."""
    found: dict[JobId, list[JobPhase]] = {job_id: [] for job_id in job_ids}
    for row in session.scalars(select(JobPhase).where(JobPhase.job_id.in_(job_ids))):
        found[row.job_id].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: _ORDER[row.phase])
    return found


def supervision_after(
    session: Session, job_id: JobId, after: tuple[int, int], *, limit: int, variant: int = 0
) -> Sequence[Supervision]:
    """Return a variant's records by place of the fact and generation, from the one behind `after`."""
    place = tuple_(Supervision.ord, Supervision.generation)
    statement = select(Supervision).where(
        Supervision.job_id == job_id, Supervision.variant == variant, place > after
    )
    return session.scalars(statement.order_by(Supervision.ord, Supervision.generation).limit(limit)).all()


def queue_positions(session: Session, jobs: Sequence[Job], *, now: datetime) -> Mapping[JobId, int]:
    """Return the places of queued jobs in their queues, up to `FARTHEST_PLACE`; 1 is claimed next.

    They are in the order of `leases.claim`, and jobs that are not due yet stand behind all that are.
    """
    places: dict[JobId, int] = {}
    for queue in {job.queue for job in jobs}:
        here = [job for job in jobs if job.queue == queue]
        due = _in_order(queue, Job.next_run_at <= now)
        places |= _places(session, due, here)
        if held_back := [job for job in here if job.next_run_at > now]:
            ahead = session.scalars(select(func.count()).select_from(due)).one()
            found = _places(session, _in_order(queue, Job.next_run_at > now), held_back)
            places |= {job_id: ahead + place for job_id, place in found.items()}
    return {job_id: place for job_id, place in places.items() if place <= FARTHEST_PLACE}


def _in_order(queue: str, when: ColumnElement[bool]) -> Subquery:
    """Return the first jobs of a queue with their places, as the index for claims has them."""
    order = (Job.priority.desc(), Job.next_run_at, Job.id)
    place = func.row_number().over(order_by=order).label("place")
    waiting = select(Job.id, place).where(Job.status == JobStatus.QUEUED, Job.queue == queue, when)
    return waiting.order_by(*order).limit(FARTHEST_PLACE).subquery()


def _places(session: Session, ordered: Subquery, jobs: Sequence[Job]) -> dict[JobId, int]:
    statement = select(ordered.c.id, ordered.c.place).where(ordered.c.id.in_([job.id for job in jobs]))
    return {row.id: row.place for row in session.execute(statement)}


def has_queued(session: Session, *, queue: str, now: datetime) -> bool:
    """Say whether a job of `queue` could be claimed now."""
    due = select(Job.id).where(Job.status == JobStatus.QUEUED, Job.queue == queue, Job.next_run_at <= now)
    return session.scalars(due.limit(1)).one_or_none() is not None
