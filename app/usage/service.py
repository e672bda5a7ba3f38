"""Use cases on what a project has used: sums over the other features. All of them only read."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.adapters.models import Adapter, AdapterStatus
from app.db.engine import Database
from app.fact_sets.models import FactSet, FactSetStatus
from app.ids import ProjectId
from app.jobs import quotas as used
from app.jobs.models import Job
from app.jobs.states import OWNED, WAITING, JobStatus
from app.projects import quotas
from app.projects.quotas import Quotas
from app.usage.schemas import DayRead, QuotaRead, QuotasRead, UsageRead

_DAY: Final = timedelta(days=1)


def get_quota(
    database: Database, *, project_id: ProjectId, defaults: Quotas, requests_per_minute: int
) -> QuotasRead:
    """Return what the project may use, and has used."""
    with database.read() as session:
        now = database.now(session)
        limits = quotas.of_project(session, project_id, defaults)
        return QuotasRead(
            project_id=project_id,
            running_jobs=_quota(used.count(session, project_id, OWNED), limits.running_jobs),
            queued_jobs=_quota(used.count(session, project_id, WAITING), limits.queued_jobs),
            gpu_seconds=_quota(used.seconds_of_day(session, project_id, now), limits.gpu_seconds),
            stored_bytes=_quota(used.stored_bytes(session, project_id), limits.stored_bytes),
            day_ends_at=used.day_of(now) + _DAY,
            requests_per_minute=requests_per_minute or None,
        )


def get_usage(database: Database, *, project_id: ProjectId, days: int) -> UsageRead:
    """Return what the project has used in the last `days` days, today among them, and what it has."""
    with database.read() as session:
        now = database.now(session)
        spent = _days(session, project_id, now, days)
        n_sets, n_facts = _fact_sets(session, project_id)
        return UsageRead(
            project_id=project_id,
            days=spent,
            gpu_seconds=round(sum(day.gpu_seconds for day in spent), 3),
            jobs=_jobs(session, project_id),
            fact_sets=n_sets,
            facts=n_facts,
            adapters=_adapters(session, project_id),
            stored_bytes=used.stored_bytes(session, project_id),
        )


def _quota(amount: float, limit: int) -> QuotaRead:
    return QuotaRead(used=round(amount, 3), limit=limit or None)


def _days(session: Session, project_id: ProjectId, now: datetime, days: int) -> list[DayRead]:
    starts = [used.day_of(now) - _DAY * back for back in reversed(range(days))]
    spent = dict.fromkeys(starts, 0.0)
    for begin, end in used.spans_since(session, project_id, starts[0]):
        day = max(used.day_of(begin), starts[0])
        while day < min(end or now, now):
            spent[day] += used.overlap(begin, end, day, min(day + _DAY, now))
            day += _DAY
    return [DayRead(day=day.date(), gpu_seconds=round(seconds, 3)) for day, seconds in spent.items()]


def _jobs(session: Session, project_id: ProjectId) -> Mapping[JobStatus, int]:
    statement = select(Job.status, func.count()).where(Job.project_id == project_id).group_by(Job.status)
    found = {row[0]: row[1] for row in session.execute(statement)}
    return {status: found.get(status, 0) for status in JobStatus}


def _fact_sets(session: Session, project_id: ProjectId) -> tuple[int, int]:
    statement = select(func.count(), func.coalesce(func.sum(FactSet.n_facts), 0)).where(
        FactSet.project_id == project_id, FactSet.status != FactSetStatus.DELETED
    )
    n_sets, n_facts = session.execute(statement).one()
    return n_sets, int(n_facts)


def _adapters(session: Session, project_id: ProjectId) -> int:
    statement = select(func.count()).where(
        Adapter.project_id == project_id, Adapter.status != AdapterStatus.DELETED
    )
    return session.scalars(statement).one()
