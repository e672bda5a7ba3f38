"""The end of a job that succeeded: with what came of it, in one transaction, or without a trace."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.base import JsonObject
from app.db.engine import Database
from app.events.repository import NewEvent
from app.jobs import leases
from app.jobs.errors import LeaseLostError
from app.jobs.leases import Claim
from app.jobs.models import Job
from app.jobs.states import JobStatus
from worker.publication import ExportPublication, Measurement, Publication
from worker.stopping import StopRequested
from worker.transactions import write


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends that succeeded.

    Attributes:
        best: What came of it: its gate is the job's.
        insert: Writes all of it.
        story: The events that tell of it.
        frontier: How several variants compare.
    """

    best: Publication | Measurement | ExportPublication
    insert: Callable[[Session, Job, datetime], None]
    story: Sequence[NewEvent]
    frontier: JsonObject | None = None


def end_job(
    database: Database,
    claim: Claim,
    ending: Ending,
    *,
    patience: timedelta,
    crash_point: Callable[[str], None],
) -> None:
    """End the job as succeeded. A commit whose answer was lost is not done twice.

    Args:
        patience: How long a database is waited for that is away.
        crash_point: Dies if a test asked for it.

    Raises:
        StopRequested: The job is being cancelled.
        LeaseLostError: The job is not ours any more.
    """

    def end(session: Session) -> None:
        now = database.now(session)
        if leases.publish(
            session,
            claim.job_id,
            claim.fence,
            now=now,
            gate_status=ending.best.gate_status,
            gate=ending.best.gate,
            frontier=ending.frontier,
            new_events=ending.story,
        ):
            ending.insert(session, session.scalars(select(Job).where(Job.id == claim.job_id)).one(), now)
            crash_point("packaging.before_commit")
        else:
            _explain_refusal(session, claim)

    write(database, end, patience=patience)
    crash_point("packaging.after_commit")


def _explain_refusal(session: Session, claim: Claim) -> None:
    """Raise why the job could not be published; return if an earlier try of ours has done it."""
    row = session.execute(select(Job.fence, Job.status).where(Job.id == claim.job_id)).one_or_none()
    if row is None or row.fence != claim.fence:
        raise LeaseLostError(claim.job_id, claim.fence)
    if row.status == JobStatus.CANCELLING:
        raise StopRequested(JobStatus.CANCELLING)
    if row.status != JobStatus.SUCCEEDED:
        raise LeaseLostError(claim.job_id, claim.fence)
