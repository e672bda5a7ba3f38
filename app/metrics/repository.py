"""Rows of `job_metrics`. Workers write them, see `worker.points`."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from app.db.lists import Cut
from app.ids import JobId
from app.metrics.models import JobMetric

BATCH: Final = 1000
"""Points that are read at a time where all are."""

_PLACE = (JobMetric.name, JobMetric.variant, JobMetric.step)


def list_points(
    session: Session, job_id: JobId, cut: Cut[str], *, name: str | None = None, variant: int | None = None
) -> Sequence[JobMetric]:
    """Return the points of a job by name, variant and step, and one more than asked for if more follow."""
    statement = select(JobMetric).where(JobMetric.job_id == job_id)
    if name is not None:
        statement = statement.where(JobMetric.name == name)
    if variant is not None:
        statement = statement.where(JobMetric.variant == variant)
    if cut.after is not None:
        after, of_variant, step = cut.after.split(":")
        statement = statement.where(tuple_(*_PLACE) > tuple_(after, int(of_variant), int(step)))
    return session.scalars(statement.order_by(*_PLACE).limit(cut.limit + 1)).all()


def every_point(session: Session, job_id: JobId) -> Iterator[JobMetric]:
    """Yield the points of a job by name, variant and step, a batch at a time."""
    statement = select(JobMetric).where(JobMetric.job_id == job_id).order_by(*_PLACE)
    yield from session.scalars(statement.execution_options(yield_per=BATCH))


def forget_after(session: Session, job_id: JobId, *, phase: str, variant: int, step: int) -> None:
    """Delete what was measured in a phase beyond `step`, to which an attempt goes back."""
    statement = delete(JobMetric).where(
        JobMetric.job_id == job_id,
        JobMetric.phase == phase,
        JobMetric.variant == variant,
        JobMetric.step > step,
    )
    session.execute(statement.execution_options(synchronize_session=False))
