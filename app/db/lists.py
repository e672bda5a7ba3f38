"""Lists that are read in pieces: by keyset, so that a page costs the same wherever it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute

Key = TypeVar("Key", str, int)
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Cut(Generic[Key]):
    """Which part of a list is asked for: `limit` rows behind the key `after`, up or down."""

    limit: int
    after: Key | None = None
    ascending: bool = True
    seal: Callable[[Any], str] = str
    """What makes a cursor of a key."""


def cut_by(statement: Select[Row], column: InstrumentedAttribute[Any], cut: Cut[Any]) -> Select[Row]:
    """Order by `column`, which is unique in the list, and take one row more than asked for.

    The additional row says that more follow; `app.web.paging.Page` takes it off.
    """
    if cut.after is not None:
        statement = statement.where(column > cut.after if cut.ascending else column < cut.after)
    return statement.order_by(column.asc() if cut.ascending else column.desc()).limit(cut.limit + 1)
