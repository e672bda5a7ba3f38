"""Which jobs a machine with several GPUs may begin, so that none waits for ever.

A job that wants more GPUs than are free lets later ones that want fewer go first, for a while.
Then nothing of its priority or below is begun on the machines that could hold it, and GPUs
become free until it fits. One that fits no machine for as long is begun all the same, and told so.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import aliased

from app.jobs.models import Job, Worker
from app.jobs.states import JobStatus


def room(
    *, queue: str, free: int, capacity: int, now: datetime, patience: timedelta, lease: timedelta
) -> ColumnElement[bool]:
    """Return what a job must meet to be begun on a machine now, for `app.jobs.leases.claim`.

    Args:
        free: GPUs that nothing runs on, at least one.
        capacity: GPUs that the machine has for jobs.
        patience: How long a job that is due lets others go first.
        lease: Silence after which a worker does not count.
    """
    long_ago = now - patience
    fits = and_(Job.gpus <= free, ~_must_wait(queue, free, capacity, long_ago))
    hopeless = and_(Job.gpus > capacity, Job.next_run_at <= long_ago, ~_fits_elsewhere(now - lease))
    return or_(fits, hopeless)


def _must_wait(queue: str, free: int, capacity: int, since: datetime) -> ColumnElement[bool]:
    """A job that would fit this machine if it were empty has waited too long, and is no less urgent."""
    waiting = aliased(Job)
    most_urgent = (
        select(func.max(waiting.priority))
        .where(
            waiting.status == JobStatus.QUEUED,
            waiting.queue == queue,
            waiting.next_run_at <= since,
            waiting.gpus > free,
            waiting.gpus <= capacity,
        )
        .scalar_subquery()
    )
    return func.coalesce(Job.priority <= most_urgent, False)


def _fits_elsewhere(since: datetime) -> ColumnElement[bool]:
    """Some worker has as many GPUs as the job wants."""
    return exists().where(Worker.capacity >= Job.gpus, Worker.heartbeat_at > since)
