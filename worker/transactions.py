"""Transactions that outlast a database that is busy, or away for a moment."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from app.db.engine import Database

T = TypeVar("T")

TRANSIENT: Final = (OperationalError, PoolTimeoutError)
"""What a database raises that is busy, restarting or out of reach."""

_RETRIES: Final = 3
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


def write(database: Database, body: Callable[[Session], T], *, patience: timedelta) -> T:
    """Run `body` in a transaction that may write, and again if the database was at fault.

    A conflict with other writers is tried again three times, a lost connection until
    `patience` is over. The outcome of a COMMIT whose answer was lost is unknown, so `body`
    must come to the same end when it finds its own work done.
    """
    return _persist(database.begin, body, patience.total_seconds())


def read(database: Database, body: Callable[[Session], T], *, patience: timedelta) -> T:
    """Run `body`, which only reads, and again if the database was at fault; see `write`."""
    return _persist(database.read, body, patience.total_seconds())


def _persist(
    begin: Callable[[], AbstractContextManager[Session]], body: Callable[[Session], T], patience: float
) -> T:
    until = time.monotonic() + patience
    pause, conflicts = _FIRST_PAUSE, 0
    while True:
        try:
            with begin() as session:
                return body(session)
        except TRANSIENT as error:
            conflicts += not _is_away(error)
            if conflicts > _RETRIES or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _is_away(error: OperationalError | PoolTimeoutError) -> bool:
    """Say whether there was no server to talk to, as opposed to one that said no.

    psycopg gives an SQLSTATE to what the server says; SQLite is never away.
    """
    if not isinstance(error, DBAPIError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    from_psycopg = hasattr(error.orig, "sqlstate")
    return from_psycopg and (state is None or state[:2] in {"08", "57"})
