"""Spans of attempts and their phases. The supervisor makes them, so a runner that is killed has some too."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

from opentelemetry.trace import Span, StatusCode, TracerProvider, set_span_in_context
from sqlalchemy import select

from app import tracing
from app.db.engine import Database
from app.jobs.leases import Claim
from app.jobs.models import JobPhase


@contextmanager
def attempt(tracers: TracerProvider, claim: Claim) -> Generator[Span]:
    """Trace the block as an attempt, in the trace of the request that made the job."""
    with tracers.get_tracer(tracing.NAME).start_as_current_span(
        "job.attempt",
        context=tracing.context_of(claim.traceparent),
        attributes={"mixsd.job_id": claim.job_id, "mixsd.attempt": claim.attempt},
    ) as span:
        yield span


def add_phases(tracers: TracerProvider, database: Database, claim: Claim, parent: Span) -> None:
    """Add a span for each phase that the attempt began. One that it did not finish ends now, as failed.

    A phase that an earlier attempt had finished is none of this one's.
    """
    statement = select(JobPhase).where(JobPhase.job_id == claim.job_id, JobPhase.fence == claim.fence)
    with database.read() as session:
        now = database.now(session)
        rows = session.scalars(statement.order_by(JobPhase.started_at)).all()
    for row in rows:
        span = tracers.get_tracer(tracing.NAME).start_span(
            f"phase.{row.phase}",
            context=set_span_in_context(parent),
            start_time=_nanoseconds(row.started_at),
            attributes={"mixsd.done": row.done, "mixsd.total": row.total, "mixsd.unit": row.unit},
        )
        if row.finished_at is None:
            span.set_status(StatusCode.ERROR, "the attempt ended in this phase")
        span.end(_nanoseconds(row.finished_at or now))


def _nanoseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1e9)
