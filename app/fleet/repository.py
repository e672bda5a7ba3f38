"""What waits, what runs, and how long jobs take."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.ids import JobId, ProjectId
from app.jobs.models import Job, Worker
from app.jobs.states import OWNED, JobStatus

GONE_BY: Final = 50
"""Jobs that succeeded last, from which is told how long one takes."""


def waiting(session: Session, project_id: ProjectId, *, now: datetime, limit: int) -> Sequence[Job]:
    """Return the project's queued jobs in the order of `app.jobs.leases.claim`, those that are due first."""
    mine = select(Job).where(Job.project_id == project_id, Job.status == JobStatus.QUEUED)
    order = (Job.next_run_at > now, Job.priority.desc(), Job.next_run_at, Job.id)
    return session.scalars(mine.where(Job.finished_at.is_(None)).order_by(*order).limit(limit)).all()


def running(session: Session, project_id: ProjectId, *, limit: int) -> Sequence[Job]:
    mine = select(Job).where(Job.project_id == project_id, Job.status.in_(OWNED))
    return session.scalars(mine.where(Job.finished_at.is_(None)).order_by(Job.id).limit(limit)).all()


def counts(session: Session, project_id: ProjectId | None) -> Mapping[ProjectId, Mapping[JobStatus, int]]:
    """Count unfinished jobs by project and status: of one project, or of all that have any."""
    statement = select(Job.project_id, Job.status, func.count()).where(Job.finished_at.is_(None))
    if project_id is not None:
        statement = statement.where(Job.project_id == project_id)
    found: dict[ProjectId, dict[JobStatus, int]] = {}
    for project, status, count in session.execute(statement.group_by(Job.project_id, Job.status)):
        found.setdefault(project, {})[status] = count
    return found


def usual_duration(session: Session) -> timedelta | None:
    """Return how long the middle one took of the jobs that succeeded last; None if none has."""
    statement = (
        select(Job.started_at, Job.finished_at)
        .where(Job.status == JobStatus.SUCCEEDED, Job.finished_at.is_not(None), Job.started_at.is_not(None))
        .order_by(Job.finished_at.desc())
        .limit(GONE_BY)
    )
    taken = [
        (ended - began).total_seconds() for began, ended in session.execute(statement) if began and ended
    ]
    return timedelta(seconds=median(taken)) if taken else None


def began(session: Session) -> Sequence[datetime]:
    """Return when each job began that a worker has."""
    statement = select(Job.started_at).where(Job.status.in_(OWNED))
    return [started for started in session.scalars(statement) if started is not None]


def of_project(session: Session, job_ids: Sequence[JobId], project_id: ProjectId) -> frozenset[JobId]:
    """Return which of these jobs are the project's."""
    statement = select(Job.id).where(Job.id.in_(job_ids), Job.project_id == project_id)
    return frozenset(session.scalars(statement))


def workers(session: Session) -> Sequence[Worker]:
    return session.scalars(select(Worker)).all()
