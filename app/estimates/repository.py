"""What stands between a new job and its start: jobs before it, and workers. Only reads."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.models import GPU_QUEUE, Job, Worker
from app.jobs.states import OWNED, JobStatus

MOST_AHEAD: Final = 1000
"""Jobs that are looked at: a longer queue would make an estimate slow, and worth little."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Seconds that jobs ahead still take, in the order in which they run; None where that is not known."""

    running: Sequence[float | None]
    queued: Sequence[float | None]

    @property
    def count(self) -> int:
        return len(self.running) + len(self.queued)


def ahead_of(session: Session, *, priority: int, now: datetime) -> Ahead:
    """Return the jobs that come before one that would be queued now, of all projects."""
    expected = Job.forecast["seconds"]["p50"].as_float().label("expected")
    owned = select(expected, Job.started_at).where(Job.queue == GPU_QUEUE, Job.status.in_(OWNED))
    running = session.execute(owned.limit(MOST_AHEAD)).all()
    queued = session.scalars(
        select(expected)
        .where(
            Job.queue == GPU_QUEUE,
            Job.status == JobStatus.QUEUED,
            Job.priority >= priority,
            Job.next_run_at <= now,
        )
        .order_by(Job.priority.desc(), Job.next_run_at, Job.id)
        .limit(MOST_AHEAD)
    ).all()
    return Ahead([_left(row.expected, row.started_at, now) for row in running], queued)


def _left(expected: float | None, started_at: datetime | None, now: datetime) -> float | None:
    """Return the rest of a job that runs. One that is overdue is taken to end at any moment."""
    if expected is None or started_at is None:
        return None
    return max(0.0, expected - (now - started_at).total_seconds())


def workers_alive(session: Session, *, now: datetime, silence: timedelta) -> int | None:
    """Return how many workers have reported within `silence`. None if none ever has."""
    if session.scalars(select(Worker.id).limit(1)).one_or_none() is None:
        return None
    alive = select(func.count()).select_from(Worker).where(Worker.heartbeat_at > now - silence)
    return session.scalars(alive).one()


def starts_in(ahead: Ahead, workers: int) -> float | None:
    """Return after how many seconds a worker is free for one more job. None if that cannot be said.

    Example:
        >>> starts_in(Ahead([30.0], [60.0, 10.0]), 2), starts_in(Ahead([], []), 1)
        (40.0, 0.0)
        >>> starts_in(Ahead([30.0], []), 0)
    """
    if not workers or None in (*ahead.running, *ahead.queued):
        return None
    free = [left or 0.0 for left in ahead.running]
    free += [0.0] * max(0, workers - len(free))
    heapq.heapify(free)
    for seconds in ahead.queued:
        heapq.heapreplace(free, free[0] + (seconds or 0.0))
    return free[0]
