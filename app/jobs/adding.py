"""New jobs on their way into the database, in as few questions as go: each is a round trip.

The statements are made once and bound anew each time, since making one takes as long as a short query.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import CTE, Insert, ScalarSelect, Select, Table, bindparam, func, insert, select, true, tuple_
from sqlalchemy import literal as sql_literal
from sqlalchemy.orm import Session
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from app import tracing
from app.adapters.models import Adapter
from app.db.engine import Database
from app.events.models import Event, Level
from app.fact_sets import repository as fact_sets
from app.ids import EventId, FactSetId, JobId, ProjectId, new_id
from app.jobs.models import GPU_QUEUE, Job
from app.jobs.quotas import check_may_queue
from app.jobs.repository import FARTHEST_PLACE
from app.jobs.schemas import JobRead
from app.jobs.states import JobStatus
from app.projects import quotas
from app.projects.models import Project
from app.projects.quotas import Quotas

_JOBS: Final = cast(Table, Job.__table__)
_EVENTS: Final = cast(Table, Event.__table__)
_COLUMNS: Final = {attribute.key: attribute.columns[0].name for attribute in Job.__mapper__.column_attrs}
"""Of the table, by attribute."""
_DEFAULTS: Final[dict[str, Any]] = {
    column.name: column.default.arg
    for column in _JOBS.columns
    if isinstance(column.default, ScalarElementColumnDefault)
}
_BEGINNING: Final = (("job.created", "the job was created"), ("job.queued", "waits for a worker"))
"""Events that begin the story of a job."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The fact set of a new job, as far as the job needs it. It cannot be deleted before the commit."""

    id: FactSetId
    sha256: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a new job has to know. `facts` is None if there are none, or none were asked for."""

    now: datetime
    facts: Facts | None


def standing(
    database: Database,
    session: Session,
    *,
    project_id: ProjectId,
    fact_set_id: str | None,
    defaults: Quotas,
) -> Standing:
    """Ask for the time, what the project may have and, by its id, one of its fact sets, which is held.

    Raises:
        QuotaExceededError: The project may have no more jobs; `defaults` holds for one without quotas of
            its own.
    """
    now = database.clock and database.clock()
    given = {"project_id": project_id, "fact_set_id": fact_set_id, **quotas.bound(defaults)}
    statement = _asking(timed=now is None, with_facts=fact_set_id is not None)
    limits, rest = quotas.split(session.execute(statement, given).one())
    facts = Facts(rest.pop(0), rest.pop(0)) if fact_set_id is not None else None
    now = now or rest.pop(0)
    check_may_queue(session, project_id, limits, now=now)
    return Standing(now, facts if facts and facts.id else None)


@cache
def _asking(*, timed: bool, with_facts: bool) -> Select[Any]:
    """Return the question. The time comes last: it is that after a wait for the fact set."""
    columns: list[Any] = list(quotas.columns())
    statement = select(*columns).where(Project.id == bindparam("project_id"))
    if with_facts:
        held = fact_sets.held(bindparam("fact_set_id"), bindparam("project_id")).cte("held")
        statement = statement.add_columns(held.c.id, held.c.sha256).outerjoin_from(Project, held, true())
    return statement.add_columns(func.clock_timestamp()) if timed else statement


def job_of(
    settings: Mapping[str, Any],
    parts: Mapping[str, str],
    *,
    project_id: ProjectId,
    now: datetime,
    **rest: Any,
) -> Job:
    """Return a job that waits: what is the same of all kinds, filled in.

    Args:
        settings: What was asked for.
        parts: Digests of what else decides what the job does.
        rest: The other columns.
    """
    asked = json.dumps({**settings, **parts}, sort_keys=True)
    return Job(
        id=JobId(new_id("job", now=now)),
        project_id=project_id,
        name=settings["name"],
        labels=settings["metadata"],
        request_sha256=hashlib.sha256(asked.encode()).hexdigest(),
        queue=GPU_QUEUE,
        priority=settings["priority"],
        traceparent=tracing.current(),
        status=JobStatus.QUEUED,
        attempt=0,
        next_run_at=now,
        created_at=now,
        **rest,
    )


def job_on(
    adapter: Adapter,
    settings: Mapping[str, Any],
    parts: Mapping[str, str],
    *,
    project_id: ProjectId,
    now: datetime,
    **rest: Any,
) -> Job:
    """Return a job that does something with an adapter and trains nothing; see `job_of`."""
    return job_of(
        settings,
        {**parts, "adapter": adapter.sha256},
        project_id=project_id,
        now=now,
        adapter_id=adapter.id,
        base_model=adapter.base_model,
        base_revision=adapter.base_revision,
        method_type=adapter.method_type,
        method={},
        training={},
        gpus=1,
        **rest,
    )


def add_job(session: Session, job: Job, *, now: datetime) -> JobRead:
    """Store a new job that is due, with the events that begin its story.

    `job` is not of the session. It is shown with its place in its queue, None beyond `FARTHEST_PLACE`.
    """
    job.event_seq = len(_BEGINNING)
    given = {column: vars(job)[name] for name, column in _COLUMNS.items() if name in vars(job)}
    values = {f"new_{column}": value for column, value in {**_DEFAULTS, **given}.items()}
    values |= {f"event_{place}": EventId(new_id("evt", now=now)) for place in range(len(_BEGINNING))}
    columns = tuple(sorted({*_DEFAULTS, *given}))
    if session.get_bind().dialect.name == "sqlite":  # which writes no two tables at once
        session.execute(_inserting(columns), values)
        ahead, *_ = session.scalars(_telling(), values)
    else:
        ahead, *_ = session.scalars(_adding(columns), values)  # of each event the same number
    place = ahead + 1 if ahead < FARTHEST_PLACE else None
    return JobRead.of(job, [], adapters=[], queue_position=place)


@cache
def _inserting(columns: tuple[str, ...]) -> Insert:
    return insert(_JOBS).values(
        {name: bindparam(f"new_{name}", type_=_JOBS.c[name].type) for name in columns}
    )


@cache
def _adding(columns: tuple[str, ...]) -> Insert:
    return _telling(_inserting(columns).returning(_JOBS.c.id).cte("job"))


@cache
def _telling(job: CTE | None = None) -> Insert:
    """Return what writes down the events and tells how many jobs are ahead.

    Args:
        job: What inserts the job, if that is not done yet.
    """
    job_id = bindparam("new_id", type_=_JOBS.c.id.type) if job is None else job.c.id
    columns = _EVENTS.c
    first, *others = [
        select(
            bindparam(f"event_{place}", type_=columns.id.type),
            job_id,
            *(
                sql_literal(value, columns[name].type)
                for name, value in _of_event(place, kind, message).items()
            ),
            bindparam("new_attempt", type_=columns.attempt.type),
            bindparam("new_created_at", type_=columns.created_at.type),
        )
        for place, (kind, message) in enumerate(_BEGINNING)
    ]
    names = ["id", "job_id", *_of_event(0, "", ""), "attempt", "created_at"]
    return insert(_EVENTS).from_select(names, first.union_all(*others)).returning(_ahead())


def _of_event(place: int, kind: str, message: str) -> dict[str, Any]:
    return {
        "seq": place + 1,
        "type": kind,
        "level": Level.INFO,
        "message": message,
        "data": {},
        "told": False,
    }


def _ahead() -> ScalarSelect[int]:
    """Return how many jobs would be claimed before the new one, at most `FARTHEST_PLACE`.

    They are in the order of `leases.claim`. To count them costs less than to put them in order.
    """
    new = _JOBS.c
    queue = bindparam("new_queue", type_=new.queue.type)
    priority = bindparam("new_priority", type_=new.priority.type)
    due = bindparam("new_next_run_at", type_=new.next_run_at.type)
    before = tuple_(new.next_run_at, new.id) < tuple_(due, bindparam("new_id", type_=new.id.type))
    ahead = select(new.id).where(
        new.status == JobStatus.QUEUED,
        new.queue == queue,
        new.next_run_at <= due,
        new.priority >= priority,
        (new.priority > priority) | before,
    )
    some = ahead.limit(FARTHEST_PLACE).subquery()
    return select(func.count()).select_from(some).scalar_subquery()
