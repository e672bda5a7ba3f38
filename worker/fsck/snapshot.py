"""What checks look at: one state of the database, and the folders that belong to it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Executable

from app.db.engine import without_limits
from app.storage import ArtifactStore

T = TypeVar("T")

BATCH: Final = 1000
"""Rows that are looked at together."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection in the middle of a transaction that only reads, and what is to be compared with it.

    Attributes:
        store: Where files of adapters are.
        keep: How long the work of a job is kept that failed or was cancelled.
        hashing: Whether files are read to the end, and texts put together anew.
    """

    connection: Connection
    store: ArtifactStore
    work: Path
    now: datetime
    keep: timedelta
    hashing: bool

    @property
    def is_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    def count(self, statement: Executable) -> int:
        return int(self.connection.execute(statement).scalar_one())

    def rows(self, statement: Executable) -> Iterator[Any]:
        """Read rows in batches, so that there may be any number."""
        return iter(self.connection.execute(statement, execution_options={"yield_per": BATCH}))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give one consistent state of the database, for as long as it takes, and let nothing be written.

    The limits that the service puts on its own statements do not hold here.
    """
    options: dict[str, Any] = {"mixsd_readonly": True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        without_limits(connection)
        yield connection


def in_batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Take rows in pieces of at most `BATCH`."""
    rest = iter(rows)
    while batch := list(islice(rest, BATCH)):
        yield batch
