"""What the jobs of a project have used, against what they may use.

Whoever counts first takes hold of the project's row, so two that come at once cannot both be
the last one that fits. Projects without a limit are not held.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from app.access import QuotaExceededError
from app.adapters import repository as adapters
from app.exports import repository as exports
from app.files import repository as files
from app.ids import JobId, ProjectId
from app.jobs.models import Job, WorkSpan
from app.jobs.states import OWNED, WAITING, JobStatus
from app.projects import quotas
from app.projects.models import Project
from app.projects.quotas import Quotas

_DAY: Final = timedelta(days=1)
_TRY_LATER: Final = 60
"""Seconds until jobs may have ended."""
_MAKE_ROOM: Final = 3600
"""Seconds after which somebody may have deleted adapters."""


def check_may_queue(session: Session, project_id: ProjectId, limits: Quotas, *, now: datetime) -> None:
    """Do nothing if the project, which has these limits, may have one more job wait for a worker.

    Raises:
        QuotaExceededError: It has too many, or has used up its day or its room.
    """
    if limits.queued_jobs:
        quotas.hold(session, project_id)
        waiting = count(session, project_id, WAITING)  # a paused job will want to run again
        if waiting >= limits.queued_jobs:
            detail = f"{waiting} jobs of this project wait or are paused, of at most {limits.queued_jobs}"
            raise QuotaExceededError("queued_jobs", detail, retry_after=_TRY_LATER)
    if limits.gpu_seconds:
        used = seconds_of_day(session, project_id, now)
        if used >= limits.gpu_seconds:
            detail = f"the jobs of this project ran {used:.0f} s today, of at most {limits.gpu_seconds}"
            raise QuotaExceededError("gpu_seconds", detail, retry_after=_seconds_until_tomorrow(now))
    if limits.stored_bytes:
        stored = stored_bytes(session, project_id)
        if stored >= limits.stored_bytes:
            raise _no_room(stored, limits)


def check_may_store(session: Session, project_id: ProjectId, limits: Quotas, size: int) -> None:
    """Do nothing if the project, which has these limits, may have a file of `size` bytes more.

    Raises:
        QuotaExceededError: There would be too much.
    """
    if limits.stored_bytes:
        quotas.hold(session, project_id)
        stored = stored_bytes(session, project_id)
        if stored + size > limits.stored_bytes:
            raise _no_room(stored, limits)


def stored_bytes(session: Session, project_id: ProjectId) -> int:
    """Return the size of all adapters, exports and files of the project."""
    return sum(each.stored_bytes(session, project_id) for each in (adapters, exports, files))


def _no_room(stored: int, limits: Quotas) -> QuotaExceededError:
    detail = (
        f"adapters, exports and files of this project take {stored} bytes, of at most {limits.stored_bytes}"
    )
    return QuotaExceededError("stored_bytes", f"{detail}: delete some", retry_after=_MAKE_ROOM)


def held_back(session: Session, defaults: Quotas, *, queue: str, now: datetime) -> Sequence[ProjectId]:
    """Return the projects whose jobs in `queue` must wait, though they are due.

    Those run as many as they may, or have used up their day. Every limited project that has due
    jobs is held, in order of ids, so that two workers cannot both take the last place of one.
    """
    running = quotas.effective("running_jobs", defaults)
    seconds = quotas.effective("gpu_seconds", defaults)
    due = exists().where(
        Job.project_id == Project.id,
        Job.status == JobStatus.QUEUED,
        Job.queue == queue,
        Job.next_run_at <= now,
    )
    statement = select(Project.id, running, seconds).where((running > 0) | (seconds > 0), due)
    limited = session.execute(
        statement.order_by(Project.id).with_for_update(key_share=True, of=Project)
    ).all()
    return [
        project_id
        for project_id, most_running, most_seconds in limited
        if (most_running and count(session, project_id, OWNED) >= most_running)
        or (most_seconds and seconds_of_day(session, project_id, now) >= most_seconds)
    ]


def count(session: Session, project_id: ProjectId, statuses: frozenset[JobStatus]) -> int:
    """Count the project's jobs in any of these statuses."""
    statement = select(func.count()).where(Job.project_id == project_id, Job.status.in_(statuses))
    return session.scalars(statement).one()


def begin_span(session: Session, job_id: JobId, project_id: ProjectId, fence: int, now: datetime) -> None:
    """Note that a worker has begun to work for the project."""
    session.add(WorkSpan(job_id=job_id, fence=fence, project_id=project_id, started_at=now))
    session.flush()


def end_span(
    session: Session, job_id: JobId, now: datetime, outcome: JobStatus, *, lost: bool = False
) -> None:
    """Note that nobody works on the job any more, and how it stands now."""
    statement = select(WorkSpan).where(WorkSpan.job_id == job_id, WorkSpan.ended_at.is_(None))
    for span in session.scalars(statement):
        span.ended_at, span.outcome, span.lost = now, outcome, lost
    session.flush()


def seconds_of_day(session: Session, project_id: ProjectId, now: datetime) -> float:
    """Return how long the project's jobs have run since midnight UTC."""
    start = day_of(now)
    return sum(overlap(begin, end, start, now) for begin, end in spans_since(session, project_id, start))


def spans_since(
    session: Session, project_id: ProjectId, start: datetime
) -> Sequence[tuple[datetime, datetime | None]]:
    """Return begin and end of all work for the project that went on after `start`; None goes on still."""
    went_on: ColumnElement[bool] = WorkSpan.ended_at.is_(None) | (WorkSpan.ended_at > start)
    statement = select(WorkSpan.started_at, WorkSpan.ended_at).where(
        WorkSpan.project_id == project_id, went_on
    )
    return [(begin, end) for begin, end in session.execute(statement)]


def overlap(begin: datetime, end: datetime | None, start: datetime, stop: datetime) -> float:
    """Return how many seconds of `begin` .. `end` lie within `start` .. `stop`."""
    return max(0.0, (min(end or stop, stop) - max(begin, start)).total_seconds())


def day_of(now: datetime) -> datetime:
    """Return the midnight before."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _seconds_until_tomorrow(now: datetime) -> int:
    return int((day_of(now) + _DAY - now).total_seconds()) + 1
