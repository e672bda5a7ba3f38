"""What of a job's rows must agree with the model after every step, in one statement: steps are many."""

from typing import Any, Final

from sqlalchemy import bindparam, func, select

from app.adapters.models import Adapter
from app.events.models import Event
from app.jobs.models import Job, WorkSpan


def _of_the_job(what: Any, whose: Any, *more: Any) -> Any:
    return select(what).where(whose == Job.id, *more).correlate(Job).scalar_subquery()


SEEN: Final = select(
    Job.status,
    Job.fence,
    Job.attempt,
    Job.attempt_open,
    Job.attempt_limit,
    Job.crash_streak,
    Job.lease_owner,
    Job.lease_expires_at,
    Job.heartbeat_at,
    Job.finished_at,
    Job.error_code,
    Job.event_seq,
    _of_the_job(func.count(), Adapter.job_id).label("adapters"),
    _of_the_job(func.count(), Event.job_id).label("events"),
    _of_the_job(func.max(Event.seq), Event.job_id).label("last_event"),
    _of_the_job(func.count(), WorkSpan.job_id, WorkSpan.ended_at.is_(None)).label("open_spans"),
).where(Job.id == bindparam("job_id"))
