"""Rows of `job_attempts` and `checkpoints`: the record of who worked on a job, and what was kept."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.ids import JobId
from app.jobs.models import Checkpoint, JobAttempt


def open_attempt(session: Session, job_id: JobId, attempt: int, owner: str, now: datetime) -> None:
    """Note who works on the attempt. One that was handed back goes on under its old start."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    row = {"job_id": job_id, "attempt": attempt, "worker": owner, "started_at": now}
    statement = dialect.insert(JobAttempt).values(row)
    changes = {"worker": owner, "ended_at": None, "outcome": None}
    session.execute(statement.on_conflict_do_update(index_elements=["job_id", "attempt"], set_=changes))


def close_attempt(session: Session, job_id: JobId, attempt: int, outcome: str, now: datetime) -> None:
    """Note how the attempt ended. What was noted before stands."""
    session.execute(
        update(JobAttempt)
        .where(JobAttempt.job_id == job_id, JobAttempt.attempt == attempt, JobAttempt.ended_at.is_(None))
        .values(ended_at=now, outcome=outcome)
    )


def list_attempts(session: Session, job_id: JobId, cut: Cut[int]) -> Sequence[JobAttempt]:
    """Return attempts in order."""
    statement = select(JobAttempt).where(JobAttempt.job_id == job_id)
    return session.scalars(cut_by(statement, JobAttempt.attempt, cut)).all()


def list_checkpoints(session: Session, job_id: JobId, cut: Cut[str]) -> Sequence[Checkpoint]:
    """Return the registered checkpoints, by age."""
    return session.scalars(
        cut_by(select(Checkpoint).where(Checkpoint.job_id == job_id), Checkpoint.id, cut)
    ).all()
