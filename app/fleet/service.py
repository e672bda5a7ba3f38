"""Use cases on the queue and the workers. All of them only read."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from app.access import Caller
from app.db.engine import Database
from app.db.lists import Cut
from app.fleet import repository
from app.fleet.schemas import ProjectQueue, QueueRead, RunningJob, WaitingJob, WorkerCounts, WorkerRead
from app.ids import ProjectId
from app.jobs import quotas as used
from app.jobs import repository as jobs
from app.jobs import workers
from app.jobs.models import Job
from app.jobs.states import OWNED, JobStatus
from app.jobs.workers import WorkerStatus, status_of
from app.projects import quotas
from app.projects.quotas import Quotas

_NOTHING: Final[Mapping[JobStatus, int]] = {}


def get_queue(
    database: Database, caller: Caller, *, limit: int, lease: timedelta, defaults: Quotas
) -> QueueRead:
    """Return what waits and runs of the caller's project; for an operator, the counts of all.

    Args:
        limit: Most jobs of each kind.
        lease: Silence after which a worker is lost.
        defaults: Quotas of a project that has none of its own.
    """
    mine = caller.project_id
    with database.read() as session:
        now = database.now(session)
        counts = repository.counts(session, None if caller.is_operator else mine)
        waiting = repository.waiting(session, mine, now=now, limit=limit)
        present = Counter(status_of(w, now=now, lease=lease) for w in repository.workers(session))
        own = _project_queue(mine, counts.get(mine, _NOTHING))
        return QueueRead(
            project_id=mine,
            queued=own.queued,
            paused=own.paused,
            running=own.running,
            running_jobs=[
                RunningJob.model_validate(job, from_attributes=True)
                for job in repository.running(session, mine, limit=limit)
            ],
            waiting_jobs=_waiting(session, mine, waiting, present, now=now, defaults=defaults),
            workers=WorkerCounts.model_validate({str(status): present[status] for status in WorkerStatus}),
            projects=[_project_queue(*row) for row in sorted(counts.items())] if caller.is_operator else None,
        )


def _project_queue(project_id: ProjectId, counts: Mapping[JobStatus, int]) -> ProjectQueue:
    return ProjectQueue(
        project_id=project_id,
        queued=counts.get(JobStatus.QUEUED, 0),
        paused=counts.get(JobStatus.PAUSED, 0),
        running=sum(counts.get(status, 0) for status in OWNED),
    )


def _waiting(
    session: Session,
    project_id: ProjectId,
    waiting: Sequence[Job],
    present: Mapping[WorkerStatus, int],
    *,
    now: datetime,
    defaults: Quotas,
) -> list[WaitingJob]:
    places = jobs.queue_positions(session, waiting, now=now)
    starts: Sequence[datetime] = ()
    if waiting and not _is_held_back(session, project_id, defaults, now=now):
        usual = repository.usual_duration(session)
        if usual is not None:
            starts = expected_starts(
                max(places.values(), default=0),
                idle=present[WorkerStatus.IDLE],
                ends=[max(now, began + usual) for began in repository.began(session)],
                usual=usual,
                now=now,
            )
    expected = {
        job.id: max(starts[place - 1], job.next_run_at)
        for job in waiting
        if (place := places.get(job.id)) is not None and place <= len(starts)
    }
    return [WaitingJob.of(job, places.get(job.id), expected.get(job.id)) for job in waiting]


def _is_held_back(session: Session, project_id: ProjectId, defaults: Quotas, *, now: datetime) -> bool:
    """Say whether no job of the project is begun now, whoever is there to do it."""
    limits = quotas.of_project(session, project_id, defaults)
    if limits.running_jobs and used.count(session, project_id, OWNED) >= limits.running_jobs:
        return True
    seconds = limits.gpu_seconds
    return bool(seconds) and used.seconds_of_day(session, project_id, now) >= seconds


def expected_starts(
    places: int, *, idle: int, ends: Sequence[datetime], usual: timedelta, now: datetime
) -> Sequence[datetime]:
    """Return when each of the first `places` jobs of a queue begins; nothing without a worker.

    Args:
        idle: Workers that have nothing to do.
        ends: When the others are expected to be free.
        usual: How long a job takes.
    """
    free = [*([now] * idle), *ends]
    heapq.heapify(free)
    starts: list[datetime] = []
    while free and len(starts) < places:
        starts.append(heapq.heappushpop(free, free[0] + usual))
    return starts


def list_workers(
    database: Database, cut: Cut[str], caller: Caller, *, lease: timedelta
) -> Sequence[WorkerRead]:
    """Return workers, by the time they began. Whose jobs others have is not told."""
    with database.read() as session:
        now = database.now(session)
        rows = workers.list_workers(session, cut)
        in_hand = [row.job_id for row in rows if row.job_id is not None]
        mine = repository.of_project(session, in_hand, caller.project_id)
        return [
            WorkerRead.of(
                row,
                status_of(row, now=now, lease=lease),
                shows_job=caller.is_operator or row.job_id in mine,
                shows_host=caller.is_operator,
            )
            for row in rows
        ]
