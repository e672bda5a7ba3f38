"""Two fact sets beside each other, in the database: only a page of what differs leaves it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from sqlalchemy import Select, and_, exists, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.db.base import JsonObject
from app.db.lists import Cut, cut_by
from app.fact_sets.models import FactRow, FactSet
from app.ids import FactSetId


class Change(StrEnum):
    """What became of a fact from one set to another. Facts of one key are the same fact."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Counts:
    added: int
    removed: int
    changed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact as it was, and as it is; None where it is not."""

    key: str
    before: JsonObject | None
    after: JsonObject | None


_BATCH: Final = 500
"""Facts that are looked up at once."""

_Before, _After = aliased(FactRow, name="before"), aliased(FactRow, name="after")


def count_changes(session: Session, before: FactSet, after: FactSet) -> Counts:
    """Count what differs. Facts of one key are the same fact."""
    both, changed = session.execute(
        select(func.count(), func.count().filter(_Before.body != _After.body))
        .select_from(_Before)
        .join(_After, and_(_After.key == _Before.key, _After.fact_set_id == after.id))
        .where(_Before.fact_set_id == before.id)
    ).one()
    return Counts(after.n_facts - both, before.n_facts - both, changed, both - changed)


def count_against(session: Session, before: FactSet, rows: Iterable[tuple[str, str]], n_facts: int) -> Counts:
    """Count what differs in facts that are not stored: keys, each with its fact as JSON."""
    both = changed = 0
    for batch in _batches(rows):
        was = _bodies(session, before.id, [key for key, _ in batch])
        both += len(was)
        changed += sum(key in was and was[key] != json.loads(body) for key, body in batch)
    return Counts(n_facts - both, before.n_facts - both, changed, both - changed)


def list_changes(
    session: Session, before: FactSetId, after: FactSetId, cut: Cut[str], *, change: Change | None
) -> Sequence[Difference]:
    """Return a page of what differs, by key, and one row more if more follow."""
    wanted = [change] if change else list(Change)
    parts = [
        select(differing.c.key)
        for kind in wanted
        for differing in [cut_by(_keys(kind, before, after), _key_of(kind), cut).subquery()]
    ]
    every = union_all(*parts).subquery()
    keys = session.scalars(select(every.c.key).order_by(every.c.key).limit(cut.limit + 1)).all()
    was, now = (_bodies(session, fact_set_id, keys) for fact_set_id in (before, after))
    return [Difference(key, was.get(key), now.get(key)) for key in keys]


def _key_of(kind: Change) -> InstrumentedAttribute[str]:
    return _Before.key if kind is Change.REMOVED else _After.key


def _keys(kind: Change, before: FactSetId, after: FactSetId) -> Select[str]:
    in_before, in_after = _Before.fact_set_id == before, _After.fact_set_id == after
    same = _Before.key == _After.key
    match kind:
        case Change.ADDED:
            return select(_After.key).where(in_after, ~exists().where(in_before, same))
        case Change.REMOVED:
            return select(_Before.key).where(in_before, ~exists().where(in_after, same))
        case Change.CHANGED:
            return (
                select(_After.key).join(_Before, same).where(in_before, in_after, _Before.body != _After.body)
            )


def _batches(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    left = iter(rows)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _bodies(session: Session, fact_set_id: FactSetId, keys: Sequence[str]) -> dict[str, JsonObject]:
    statement = select(FactRow.key, FactRow.body).where(FactRow.fact_set_id == fact_set_id)
    return {row.key: row.body for row in session.execute(statement.where(FactRow.key.in_(keys)))}
