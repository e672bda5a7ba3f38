"""Rows of `fact_sets` and `facts`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import ColumnElement, Select, column, delete, insert, or_, select, table, update
from sqlalchemy.orm import Session

from app.db.base import JsonObject, WrittenJson
from app.db.lists import Cut, cut_by
from app.fact_sets.errors import FactSetInUseError, FactSetNotFoundError
from app.fact_sets.keeping import Kept
from app.fact_sets.models import FactRow, FactSet, FactSetStatus
from app.ids import FactSetId, ProjectId, new_id

_JOBS: Final = table(
    "jobs", column("id"), column("fact_set_id"), column("parent_fact_set_id"), column("finished_at")
)
"""What this feature must know of the jobs, which lie above it: a job without an end is under way."""


_FIELDS: Final = {"paraphrase": "paraphrases", "probe": "probes"}
"""Where the questions of a suite stand in a fact. What is empty is not stored, see `mixsd.facts`."""
_BATCH: Final = 1000
_DELETED: Final = 20_000
"""Facts that one statement deletes: it must end before Postgres loses patience with it."""
_WRITTEN: Final = table(
    "facts", column("fact_set_id"), column("ord"), column("key"), column("body", WrittenJson())
)
"""The table of facts, whose bodies have been written as JSON before."""


def add_fact_set(
    session: Session, facts: Kept, *, project_id: ProjectId, name: str | None, now: datetime
) -> FactSet:
    """Store facts, which have been validated, as a new set; without a name the digest gives one."""
    digest = facts.digest
    fact_set = FactSet(
        id=FactSetId(new_id("fset", now=now)),
        project_id=project_id,
        name=name or f"facts-{digest.sha256[:8]}",
        status=FactSetStatus.READY,
        n_facts=digest.n_facts,
        bytes=digest.bytes,
        sha256=digest.sha256,
        created_at=now,
    )
    session.add(fact_set)
    session.flush()
    rows = (
        {"fact_set_id": fact_set.id, "ord": place, "key": key, "body": body}
        for place, (key, body) in enumerate(facts.rows())
    )
    while batch := list(islice(rows, _BATCH)):
        session.execute(insert(_WRITTEN), batch)
    return fact_set


def get_fact_set(session: Session, fact_set_id: str, *, project_id: ProjectId, hold: bool = False) -> FactSet:
    """Return one of the project's fact sets; with `hold` it cannot be deleted before the commit.

    Raises:
        FactSetNotFoundError: The project has none of that id, or it was deleted.
    """
    statement = select(FactSet).where(
        FactSet.id == fact_set_id, FactSet.project_id == project_id, FactSet.status == FactSetStatus.READY
    )
    fact_set = session.scalars(statement.with_for_update(read=True) if hold else statement).one_or_none()
    if fact_set is None:
        raise FactSetNotFoundError(fact_set_id)
    return fact_set


def held(fact_set_id: ColumnElement[str], project_id: ColumnElement[str]) -> Select[FactSetId, str]:
    """Return what `get_fact_set` asks of a set that it holds, for a part of a larger question."""
    return (
        select(FactSet.id, FactSet.sha256)
        .where(
            FactSet.id == fact_set_id,
            FactSet.project_id == project_id,
            FactSet.status == FactSetStatus.READY,
        )
        .with_for_update(read=True)
    )


def has_questions(session: Session, fact_set_id: FactSetId, suite: str) -> bool:
    """Say whether a fact of the set has a question of a suite that facts bring: others every set has."""
    name, _, kind = suite.partition("_")
    field = _FIELDS.get(name)
    if field is None:
        return True
    there = FactRow.body[field].as_string().is_not(None)
    statement = select(FactRow.body).where(FactRow.fact_set_id == fact_set_id, there)
    if not kind:
        return session.scalars(statement.limit(1)).one_or_none() is not None
    bodies = session.scalars(statement.execution_options(yield_per=_BATCH))
    return any(probe["kind"] == kind for body in bodies for probe in body[field])


def have_questions(bodies: Iterable[JsonObject], suite: str) -> bool:
    """Say the same of facts that are not stored."""
    name, _, kind = suite.partition("_")
    field = _FIELDS.get(name)
    if field is None:
        return True
    return any(
        not kind or any(probe.get("kind", "other") == kind for probe in body[field])
        for body in bodies
        if body.get(field)
    )


def count_of(session: Session, fact_set_id: FactSetId) -> int:
    """Return how many facts a set has, or had before it was deleted."""
    return session.scalars(select(FactSet.n_facts).where(FactSet.id == fact_set_id)).one()


def list_fact_sets(session: Session, cut: Cut[str], *, project_id: ProjectId) -> Sequence[FactSet]:
    statement = select(FactSet).where(FactSet.project_id == project_id, FactSet.status == FactSetStatus.READY)
    return session.scalars(cut_by(statement, FactSet.id, cut)).all()


def list_facts(session: Session, fact_set_id: FactSetId, cut: Cut[int]) -> Sequence[FactRow]:
    statement = select(FactRow).where(FactRow.fact_set_id == fact_set_id)
    return session.scalars(cut_by(statement, FactRow.ord, cut)).all()


def bodies_at(session: Session, fact_set_id: FactSetId, places: Sequence[int]) -> Sequence[JsonObject]:
    """Return the facts at some places of a set, in order."""
    statement = select(FactRow.body).where(FactRow.fact_set_id == fact_set_id, FactRow.ord.in_(places))
    return session.scalars(statement.order_by(FactRow.ord)).all()


def delete_fact_set(session: Session, fact_set_id: str, *, project_id: ProjectId) -> None:
    """Remove the facts of a set. Its row stays, as jobs and adapters refer to it.

    The row is taken first: a job that is being made with it holds it, so either that job is seen
    here, or it sees the deletion.

    Raises:
        FactSetNotFoundError: The project has none of that id, or it was deleted.
        FactSetInUseError: A job that has not ended needs the facts.
    """
    taken = session.execute(
        update(FactSet)
        .where(
            FactSet.id == fact_set_id,
            FactSet.project_id == project_id,
            FactSet.status == FactSetStatus.READY,
        )
        .values(status=FactSetStatus.DELETED)
        .returning(FactSet.id)
    )
    if taken.one_or_none() is None:
        raise FactSetNotFoundError(fact_set_id)
    needed = or_(_JOBS.c.fact_set_id == fact_set_id, _JOBS.c.parent_fact_set_id == fact_set_id)
    using = select(_JOBS.c.id).where(needed, _JOBS.c.finished_at.is_(None))
    job_id = session.scalars(using.limit(1)).one_or_none()
    if job_id is not None:
        raise FactSetInUseError(fact_set_id, job_id)
    n_facts = count_of(session, FactSetId(fact_set_id))
    for first in range(0, n_facts, _DELETED):
        among = FactRow.ord.between(first, first + _DELETED - 1)
        session.execute(delete(FactRow).where(FactRow.fact_set_id == fact_set_id, among))
