"""What phases of earlier jobs took for the work that was forecast: how fast this deployment is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.models import Job, JobPhase
from app.jobs.states import JobStatus, Phase

JOBS: Final = 20
"""Jobs that are looked at, the last ones that have succeeded: machines and versions change."""


@dataclass(frozen=True, slots=True)
class History:
    """Seconds for each unit of forecast work, on the kind of device that was used last.

    They are kept apart by how tokens were counted, and then by phase. Without a job that has succeeded
    the device is None. Of whose jobs they were nothing is told.
    """

    device: str | None = None
    rates: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    def of(self, counted_by: str) -> Mapping[str, Sequence[float]]:
        """Return the rates by phase: of tokens counted this way where there are any, else of others."""
        found: dict[str, Sequence[float]] = {}
        for way in sorted(self.rates, key=lambda way: way == counted_by):
            found |= self.rates[way]
        return found


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
        (job.id, phase["phase"]): (phase["work"], job.forecast["counted_by"])
        for job in jobs
        if job.device == device
        for phase in job.forecast["phases"]
        if phase["phase"] != Phase.PREPARING or phase["work"] > 1  # else the model's size was not known
    }
    rows = session.scalars(
        select(JobPhase).where(
            JobPhase.job_id.in_([job.id for job in jobs]),
            JobPhase.seconds.is_not(None),
            JobPhase.done > JobPhase.done_before,
        )
    )
    rates: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        planned, counted_by = work.get((row.job_id, row.phase.value), (0.0, ""))
        if planned and row.seconds:
            share = (row.done - row.done_before) / row.done
            found = rates.setdefault(counted_by, {}).setdefault(row.phase.value, [])
            found.append(row.seconds / (planned * share))
    return History(device, rates)
