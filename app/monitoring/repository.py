"""What the database knows of the service as a whole. Each statement reads an index or few rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs.models import Job, JobPhase, Worker, WorkSpan
from app.jobs.states import OWNED, JobStatus, Phase

RECENT_PHASES: Final = 1000
"""Phases that durations are told of: those that were finished last."""


@dataclass(frozen=True, slots=True)
class QueueState:
    waiting: int
    due_since: datetime | None
    """When the job became due that has waited longest; None if none is due."""


def jobs_by_status(session: Session) -> Mapping[JobStatus, int]:
    """Count all jobs. Those that have ended are counted in their own index, and so are the others."""
    found: dict[JobStatus, int] = dict.fromkeys(JobStatus, 0)
    for which in (Job.finished_at.is_(None), Job.finished_at.is_not(None)):
        for row in session.execute(select(Job.status, func.count()).where(which).group_by(Job.status)):
            found[row[0]] += row[1]
    return found


def queues(session: Session, *, now: datetime) -> Mapping[str, QueueState]:
    """Return the length of each queue that jobs wait in, and since when."""
    queued = Job.status == JobStatus.QUEUED
    lengths = select(Job.queue, func.count()).where(queued).group_by(Job.queue)
    due = select(Job.queue, func.min(Job.next_run_at)).where(queued, Job.next_run_at <= now)
    since = {row[0]: row[1] for row in session.execute(due.group_by(Job.queue))}
    return {row[0]: QueueState(row[1], since.get(row[0])) for row in session.execute(lengths)}


def work_ended(session: Session) -> Sequence[tuple[str, bool, int]]:
    """Count how often workers ended their work on a job: as what, and whether they were lost.

    These numbers only rise: they outlive the jobs.
    """
    statement = select(WorkSpan.outcome, WorkSpan.lost, func.count()).where(WorkSpan.outcome.is_not(None))
    rows = session.execute(statement.group_by(WorkSpan.outcome, WorkSpan.lost))
    return [(str(row[0]), row[1], row[2]) for row in rows]


def phase_seconds(session: Session) -> Mapping[Phase, Sequence[float]]:
    """Return how long the phases took that were finished last, in increasing order."""
    statement = select(JobPhase.phase, JobPhase.started_at, JobPhase.finished_at)
    last = statement.where(JobPhase.finished_at.is_not(None)).order_by(JobPhase.finished_at.desc())
    found: dict[Phase, list[float]] = {}
    for phase, began, ended in session.execute(last.limit(RECENT_PHASES)):
        if ended is not None:
            found.setdefault(phase, []).append((ended - began).total_seconds())
    return {phase: sorted(seconds) for phase, seconds in found.items()}


def rates(session: Session) -> Mapping[tuple[Phase, str], float]:
    """Return what all running jobs do in a second, by phase and unit."""
    statement = (
        select(JobPhase.phase, JobPhase.unit, func.sum(JobPhase.rate))
        .join(Job, Job.id == JobPhase.job_id)
        .where(Job.status.in_(OWNED), Job.phase == JobPhase.phase, JobPhase.rate.is_not(None))
        .group_by(JobPhase.phase, JobPhase.unit)
    )
    return {(phase, unit): rate or 0.0 for phase, unit, rate in session.execute(statement)}


def workers(session: Session) -> Sequence[Worker]:
    return session.scalars(select(Worker)).all()
