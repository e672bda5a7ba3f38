"""Use cases on a job that is watched. All of them only read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.engine import Database
from app.db.lists import Cut
from app.events import repository as events
from app.events.models import Event
from app.ids import JobId, ProjectId
from app.jobs import repository as jobs
from app.jobs.models import Job, JobPhase
from app.jobs.states import OWNED, TERMINAL
from app.live.errors import LogGoneError
from app.live.logs import Line, read_log
from app.metrics import repository as metrics
from app.metrics.models import JobMetric

MOST: Final = 100
"""Events that are read at a time."""

_IN_ONE: Final = 400
"""Jobs that one statement asks about."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How a job stands, and what happened to it behind the place that was asked about.

    Attributes:
        events: At most `MOST`, the first ones.
        newest: Number of its last event.
        ended: Nothing more happens to it, unless somebody does something to what it made.
        phase: How far it is, while it runs.
    """

    events: Sequence[Event]
    newest: int
    ended: bool
    phase: JobPhase | None = None


def list_events(
    database: Database, cut: Cut[int], *, project_id: ProjectId, job_id: JobId
) -> Sequence[Event]:
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        return events.list_events(session, job.id, cut)


def list_metrics(
    database: Database,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    job_id: JobId,
    name: str | None,
    variant: int | None,
) -> Sequence[JobMetric]:
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        return metrics.list_points(session, job.id, cut, name=name, variant=variant)


def list_logs(
    database: Database, work_dir: Path, *, project_id: ProjectId, job_id: JobId, attempt: int | None
) -> Sequence[Line]:
    """Return what is kept of a job's log: nothing before its first attempt.

    Raises:
        JobNotFoundError: The project has no such job.
        LogGoneError: The job has ended, and its log is no longer there.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
    # The id is that of a row, and no text of a client's.
    lines = read_log(work_dir / job.id)
    if lines is None:
        if job.terminal and job.attempt:
            raise LogGoneError(job.id)
        return []
    return [line for line in lines if attempt in {None, line.attempt}]


def open_stream(database: Database, *, project_id: ProjectId, job_id: JobId, after: int) -> Sight:
    """Return how a job stands for one who has seen its events up to `after`.

    Raises:
        JobNotFoundError: The project has no such job.
    """
    with database.read() as session:
        job = jobs.get_job(session, job_id, project_id=project_id)
        return Sight(_behind(session, job.id, after, limit=1), job.event_seq, job.terminal)


def events_behind(database: Database, job_id: JobId, after: int) -> Sequence[Event]:
    """Return the first events behind `after`, for one who may see them."""
    with database.read() as session:
        return _behind(session, job_id, after, limit=MOST)


def look(database: Database, asked: Mapping[JobId, int | None]) -> Mapping[JobId, Sight]:
    """Look at many jobs at once, for those who may see them.

    Args:
        asked: The number behind which events are wanted; None for the last ones that there are.

    Returns:
        What was found. A job that is deleted is not in it.
    """
    ids = list(asked)
    found: dict[JobId, Sight] = {}
    with database.read() as session:
        for start in range(0, len(ids), _IN_ONE):
            found |= _standing(session, ids[start : start + _IN_ONE])
        for job_id, sight in found.items():
            after = asked[job_id]
            if after is None:
                after = max(0, sight.newest - MOST)
            if after < sight.newest:
                found[job_id] = replace(sight, events=_behind(session, job_id, after, limit=MOST))
    return found


def _standing(session: Session, ids: Sequence[JobId]) -> dict[JobId, Sight]:
    columns = (Job.id, Job.status, Job.phase, Job.event_seq)
    rows = session.execute(select(*columns).where(Job.id.in_(ids))).all()
    running = [row.id for row in rows if row.status in OWNED and row.phase is not None]
    phases = jobs.phases_of(session, running) if running else {}
    now_in = {row.id: row.phase for row in rows}
    at_work = {
        job_id: next((each for each in found if each.phase == now_in[job_id] and not each.finished_at), None)
        for job_id, found in phases.items()
    }
    return {row.id: Sight((), row.event_seq, row.status in TERMINAL, at_work.get(row.id)) for row in rows}


def _behind(session: Session, job_id: JobId, after: int, *, limit: int) -> Sequence[Event]:
    return events.list_events(session, job_id, Cut(limit, after))[:limit]
