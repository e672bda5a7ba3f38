"""What workers do to a job, each as one guarded statement, alike on Postgres and SQLite.

All correctness of the service rests here. An owner names its `fence` in every write; a row
that no longer carries it answers with nothing, and the caller must stop. So there is never
more than one effective owner, however late a frozen process wakes up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, null, or_, select, true, update
from sqlalchemy.orm import Session

from app.db.base import JsonObject
from app.events import repository as events
from app.events.models import Level
from app.events.repository import NewEvent
from app.ids import JobId
from app.jobs import attempts, quotas
from app.jobs.errors import LeaseLostError
from app.jobs.models import Job
from app.jobs.states import OWNED, JobStatus
from app.projects.quotas import NONE, Quotas

CRASH_LIMIT: Final = 3
"""Crashes in a row, without progress in between, after which a job fails for good."""

_NO_LEASE: Final[dict[str, Any]] = {
    "lease_owner": None,
    "lease_expires_at": None,
    "heartbeat_at": None,
    "phase": None,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker holds."""

    job_id: JobId
    fence: int
    attempt: int
    gpus: int = 1
    """How many it wants where there are any."""
    traceparent: str | None = None
    """The trace that it belongs to."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What an owner learns from a heartbeat."""

    status: JobStatus
    progress_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job ends without an adapter. `category` is user, system or capacity."""

    category: str
    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a job that its owner gave up or lost."""

    job_id: JobId
    status: JobStatus
    attempt: int


def _owned(job_id: JobId, fence: int) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.fence == fence, Job.status.in_(OWNED))


def claim(
    session: Session,
    *,
    queue: str,
    owner: str,
    version: int,
    now: datetime,
    lease: timedelta,
    defaults: Quotas = NONE,
    room: ColumnElement[bool] | None = None,
) -> Claim | None:
    """Take the first due job of `queue`, by priority and then by age. None if there is none.

    Projects that have used up what they may have are passed over; `defaults` holds for those
    without quotas of their own. So are jobs that do not meet `room`, where it is given: see
    `app.jobs.gpus`.
    """
    held_back = quotas.held_back(session, defaults, queue=queue, now=now)
    first = (
        select(Job.id)
        .where(
            Job.status == JobStatus.QUEUED,
            Job.queue == queue,
            Job.next_run_at <= now,
            Job.min_worker_version <= version,
            Job.project_id.not_in(held_back),
            true() if room is None else room,
        )
        .order_by(Job.priority.desc(), Job.next_run_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    statement = (
        update(Job)
        .where(Job.status == JobStatus.QUEUED, Job.id == first)
        .values(
            status=JobStatus.RUNNING,
            fence=Job.fence + 1,
            attempt=Job.attempt + case((Job.attempt_open, 0), else_=1),
            attempt_open=True,
            lease_owner=owner,
            lease_expires_at=now + lease,
            heartbeat_at=now,
            progress_at=now,
            wait_reason=None,
            started_at=case((Job.started_at.is_(None), now), else_=Job.started_at),
            event_seq=Job.event_seq + 1,
        )
        .returning(Job.id, Job.project_id, Job.fence, Job.attempt, Job.event_seq, Job.gpus, Job.traceparent)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return None
    quotas.begin_span(session, row.id, row.project_id, row.fence, now)
    attempts.open_attempt(session, row.id, row.attempt, owner, now)
    started = NewEvent("job.started", f"attempt {row.attempt} started")
    events.append(session, row.id, [started], last_seq=row.event_seq, attempt=row.attempt, now=now)
    return Claim(row.id, row.fence, row.attempt, row.gpus, row.traceparent)


def beat(session: Session, job_id: JobId, fence: int, *, now: datetime, lease: timedelta) -> Beat | None:
    """Extend the lease. None means that it is lost: end the runner at once."""
    statement = (
        update(Job)
        .where(_owned(job_id, fence))
        .values(heartbeat_at=now, lease_expires_at=now + lease)
        .returning(Job.status, Job.progress_at)
    )
    row = session.execute(statement).one_or_none()
    return row and Beat(row.status, row.progress_at)


def look(session: Session, job_id: JobId, fence: int) -> Beat | None:
    """Read what a heartbeat would answer, and write nothing. None means that the lease is lost."""
    statement = select(Job.status, Job.progress_at).where(_owned(job_id, fence))
    row = session.execute(statement).one_or_none()
    return row and Beat(row.status, row.progress_at)


def is_published(session: Session, job_id: JobId, fence: int) -> bool:
    """Say whether the job has ended as succeeded, and by the owner with this fence."""
    done = select(Job.id).where(Job.id == job_id, Job.fence == fence, Job.status == JobStatus.SUCCEEDED)
    return session.scalars(done).one_or_none() is not None


def guard(
    session: Session,
    job_id: JobId,
    fence: int,
    *,
    now: datetime,
    attempt: int,
    new_events: Sequence[NewEvent] = (),
    progress: bool = False,
    mark: int | None = None,
    **changes: Any,
) -> JobStatus:
    """Hold the row for the rest of the transaction, and say what the user wants of the job.

    The first statement of every transaction in which a runner writes.

    Args:
        attempt: The owner's, for the events.
        new_events: Added to the job's events.
        progress: True only with a new checkpoint, result or supervision: it forgives past crashes.
        mark: A count that rises with every unit of work; a rise shows that the runner is alive.
        changes: Further columns of the job.

    Raises:
        LeaseLostError: The job is no longer held with this fence. Nothing was written.
    """
    values: dict[str, Any] = {"event_seq": Job.event_seq + len(new_events), **changes}
    if progress:
        values["crash_streak"] = 0
    if mark is not None:
        values["progress_at"] = case((Job.progress_mark < mark, now), else_=Job.progress_at)
        values["progress_mark"] = case((Job.progress_mark < mark, mark), else_=Job.progress_mark)
    statement = update(Job).where(_owned(job_id, fence)).values(values).returning(Job.status, Job.event_seq)
    row = session.execute(statement).one_or_none()
    if row is None:
        raise LeaseLostError(job_id, fence)
    events.append(session, job_id, new_events, last_seq=row.event_seq, attempt=attempt, now=now)
    status: JobStatus = row.status
    return status


def publish(
    session: Session,
    job_id: JobId,
    fence: int,
    *,
    now: datetime,
    gate_status: str | None = None,
    gate: JsonObject | None = None,
    frontier: JsonObject | None = None,
    new_events: Sequence[NewEvent] = (),
) -> bool:
    """End the job as succeeded. False if it is being cancelled, or is not ours any more.

    The caller inserts adapters and evaluations in the same transaction, and only after this has
    answered True. If the outcome of the COMMIT is unknown, read the row again.
    """
    statement = (
        update(Job)
        .where(
            Job.id == job_id,
            Job.fence == fence,
            Job.status.in_([JobStatus.RUNNING, JobStatus.PAUSING]),
        )
        .values(
            status=JobStatus.SUCCEEDED,
            finished_at=now,
            attempt_open=False,
            gate_status=gate_status,
            gate=gate,
            frontier=frontier,
            event_seq=Job.event_seq + len(new_events),
            **_NO_LEASE,
        )
        .returning(Job.attempt, Job.event_seq)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return False
    quotas.end_span(session, job_id, now, JobStatus.SUCCEEDED)
    attempts.close_attempt(session, job_id, row.attempt, "succeeded", now)
    events.append(session, job_id, new_events, last_seq=row.event_seq, attempt=row.attempt, now=now)
    return True


def fail(session: Session, job_id: JobId, fence: int, failure: Failure, *, now: datetime) -> Ended | None:
    """End the job for good. One that is being cancelled ends as cancelled all the same."""
    cancelling = Job.status == JobStatus.CANCELLING
    values = {
        "status": case((cancelling, JobStatus.CANCELLED), else_=JobStatus.FAILED),
        "finished_at": now,
        "attempt_open": False,
        **_error(~cancelling, failure),
    }
    return _end(session, _owned(job_id, fence), values, now=now, why=failure.message)


def release(
    session: Session,
    job_id: JobId,
    fence: int,
    *,
    now: datetime,
    delay: timedelta = timedelta(0),
    why: str | None = None,
    **changes: Any,
) -> Ended | None:
    """Give the job up at a safe point: back to the queue, or paused, or cancelled as asked.

    The attempt stays open, so the next claim continues it.
    """
    cancelling, pausing = Job.status == JobStatus.CANCELLING, Job.status == JobStatus.PAUSING
    values = {
        "status": case(
            (cancelling, JobStatus.CANCELLED), (pausing, JobStatus.PAUSED), else_=JobStatus.QUEUED
        ),
        "finished_at": case((cancelling, now), else_=null()),
        "next_run_at": now + delay,
        "wait_reason": case((cancelling | pausing, null()), else_=why),
        **changes,
    }
    return _end(session, _owned(job_id, fence), values, now=now, why=why or "handed back")


def crash(
    session: Session, job_id: JobId, fence: int, failure: Failure, *, now: datetime, backoff: timedelta
) -> Ended | None:
    """Take the job back from a runner that died. The supervisor calls this, holding the lease."""
    ended = _take_back(session, _owned(job_id, fence), failure, now=now, backoff=backoff)
    return ended[0] if ended else None


def reap(session: Session, *, now: datetime, failure: Failure, backoff: timedelta) -> list[Ended]:
    """Take back every job whose lease has run out. Safe to run in several places at once.

    A row that somebody holds is left for the next time: a process that froze inside a
    transaction must not keep all the other jobs waiting.
    """
    lost = and_(Job.status.in_(OWNED), Job.lease_expires_at < now)
    free = select(Job.id).where(lost).with_for_update(skip_locked=True)
    return _take_back(session, and_(lost, Job.id.in_(free)), failure, now=now, backoff=backoff)


def reap_from(
    session: Session, owners: Sequence[str], *, now: datetime, failure: Failure, backoff: timedelta
) -> list[Ended]:
    """Take back the jobs of owners that are known to be dead, before their leases are over."""
    theirs = and_(Job.status.in_(OWNED), Job.lease_owner.in_(owners))
    return _take_back(session, theirs, failure, now=now, backoff=backoff)


def _take_back(
    session: Session, which: ColumnElement[bool], failure: Failure, *, now: datetime, backoff: timedelta
) -> list[Ended]:
    """Cancel beats the limit, the limit beats a pause; else the job waits for its next attempt."""
    cancelling, pausing = Job.status == JobStatus.CANCELLING, Job.status == JobStatus.PAUSING
    at_limit = or_(Job.crash_streak + 1 >= CRASH_LIMIT, Job.attempt >= Job.attempt_limit)
    values = {
        "status": case(
            (cancelling, JobStatus.CANCELLED),
            (at_limit, JobStatus.FAILED),
            (pausing, JobStatus.PAUSED),
            else_=JobStatus.QUEUED,
        ),
        "finished_at": case((or_(cancelling, at_limit), now), else_=null()),
        "fence": Job.fence + 1,
        "attempt_open": False,
        "crash_streak": Job.crash_streak + 1,
        "next_run_at": now + backoff,
        **_error(and_(~cancelling, at_limit), failure),
    }
    lost = [NewEvent("job.attempt_lost", failure.message, level=Level.WARNING, data={"code": failure.code})]
    return _end_all(session, which, values, now=now, why=failure.message, before=lost)


def _error(when: ColumnElement[bool], failure: Failure) -> dict[str, Any]:
    return {
        "error_category": case((when, failure.category), else_=null()),
        "error_code": case((when, failure.code), else_=null()),
        "error_message": case((when, failure.message[:4000]), else_=null()),
        "error_retryable": case((when, failure.retryable), else_=null()),
    }


def _end(
    session: Session, which: ColumnElement[bool], values: dict[str, Any], *, now: datetime, why: str
) -> Ended | None:
    ended = _end_all(session, which, values, now=now, why=why)
    return ended[0] if ended else None


_OUTCOMES: Final = {
    JobStatus.QUEUED: ("job.requeued", Level.INFO),
    JobStatus.PAUSED: ("job.paused", Level.INFO),
    JobStatus.CANCELLED: ("job.cancelled", Level.INFO),
    JobStatus.FAILED: ("job.failed", Level.ERROR),
}


def _end_all(
    session: Session,
    which: ColumnElement[bool],
    values: dict[str, Any],
    *,
    now: datetime,
    why: str,
    before: Sequence[NewEvent] = (),
) -> list[Ended]:
    """Take jobs from their owner in one statement, then note what became of each."""
    statement = (
        update(Job)
        .where(which)
        .values({"event_seq": Job.event_seq + len(before) + 1, **_NO_LEASE, **values})
        .returning(Job.id, Job.status, Job.attempt, Job.attempt_open, Job.event_seq)
        .execution_options(synchronize_session=False)
    )
    ended = []
    for row in session.execute(statement).all():
        quotas.end_span(session, row.id, now, row.status, lost=bool(before))
        kind, level = _OUTCOMES[row.status]
        happened = [*before, NewEvent(kind, why, level=level)]
        events.append(session, row.id, happened, last_seq=row.event_seq, attempt=row.attempt, now=now)
        if not row.attempt_open or row.status == JobStatus.CANCELLED:
            attempts.close_attempt(session, row.id, row.attempt, "lost" if before else str(row.status), now)
        ended.append(Ended(row.id, row.status, row.attempt))
    return ended
