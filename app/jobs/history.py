"""What phases of earlier jobs took for the work that was forecast: how fast this deployment is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.models import Job, JobPhase
from app.jobs.states import JobStatus

JOBS: Final = 20
"""Jobs that are looked at, the last ones that have succeeded: machines and versions change."""


@dataclass(frozen=True, slots=True)
class History:
    """Seconds for each unit of forecast work, by phase, on the kind of device that was used last.

    Without a job that has succeeded the device is None. Of whose jobs they were nothing is told.
    """

    device: str | None = None
    rates: Mapping[str, Sequence[float]] = field(default_factory=dict)


def history_of(session: Session, base_model: str) -> History:
    """Return what is known of jobs with a base model, of all projects."""
    statement = (
        select(Job.id, Job.device, Job.forecast)
        .where(
            Job.base_model == base_model,
            Job.status == JobStatus.SUCCEEDED,
            Job.forecast.is_not(None),
            Job.device.is_not(None),
        )
        .order_by(Job.id.desc())
        .limit(JOBS)
    )
    jobs = session.execute(statement).all()
    if not jobs:
        return History()
    device = jobs[0].device
    work = {
        (job.id, phase["phase"]): phase["work"]
        for job in jobs
        if job.device == device
        for phase in job.forecast["phases"]
    }
    rows = session.scalars(
        select(JobPhase).where(
            JobPhase.job_id.in_([job.id for job in jobs]),
            JobPhase.seconds.is_not(None),
            JobPhase.done > JobPhase.done_before,
        )
    )
    rates: dict[str, list[float]] = {}
    for row in rows:
        planned = work.get((row.job_id, row.phase.value))
        if planned and row.seconds:
            share = (row.done - row.done_before) / row.done
            rates.setdefault(row.phase.value, []).append(row.seconds / (planned * share))
    return History(device, rates)
