"""What phases of earlier jobs took for the work that was forecast: how fast this deployment is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs.models import Job, JobPhase
from app.jobs.states import JobStatus, Phase

CPU: Final = "cpu"
JOBS: Final = 20
"""Jobs that are looked at, the last ones that have succeeded: machines and versions change."""


@dataclass(frozen=True, slots=True)
class History:
    """Seconds for each unit of forecast work, on the kind of device that was used last.

    `peaks` has what jobs took of the memory that was computed for them. Rates are kept apart by how
    tokens were counted, and then by phase. Without a job that has succeeded the device is None. Of whose
    jobs they were nothing is told.
    """

    device: str | None = None
    rates: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    peaks: Sequence[float] = ()

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
    taken: dict[str, int] = {}
    for row in rows:
        used = row.host_bytes if device == CPU else row.device_bytes
        taken[row.job_id] = max(taken.get(row.job_id, 0), used or 0)
        planned, counted_by = work.get((row.job_id, row.phase.value), (0.0, ""))
        if planned and row.seconds:
            share = (row.done - row.done_before) / row.done
            found = rates.setdefault(counted_by, {}).setdefault(row.phase.value, [])
            found.append(row.seconds / (planned * share))
    computed = {
        job.id: peak_in(job.forecast["memory"], device)
        for job in jobs
        if job.device == device and job.forecast.get("memory")
    }
    peaks = [taken[job_id] / size for job_id, size in computed.items() if size and taken.get(job_id)]
    return History(device, rates, peaks)


def peak_in(memory: Any, device: str | None) -> int:
    """Return the part of a memory forecast that a measured peak is held against."""
    name = "host" if device == CPU else "device_at_once"
    return int(memory[name] if isinstance(memory, dict) else getattr(memory, name))
