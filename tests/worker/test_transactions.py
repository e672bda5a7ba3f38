"""A busy database is asked again; one that is away is waited for."""

from datetime import timedelta

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.engine import Database
from worker.transactions import write

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

PATIENCE = timedelta(minutes=5)


class Away(psycopg.OperationalError):
    """The server cannot be reached: psycopg has no SQLSTATE to show."""


class Fails:
    """Raises as often as it is told, then returns how often it was called."""

    def __init__(self, times: int, cause: Exception) -> None:
        self.left = times
        self.cause = cause
        self.calls = 0

    def __call__(self, session: Session) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise OperationalError("UPDATE", {}, self.cause)
        return self.calls


def test_a_conflict_is_tried_again_three_times(database: Database) -> None:
    assert write(database, Fails(3, Exception("database is locked")), patience=PATIENCE) == 4

    body = Fails(4, psycopg.errors.SerializationFailure())
    with pytest.raises(OperationalError):
        write(database, body, patience=PATIENCE)
    assert body.calls == 4


def test_a_server_that_is_away_is_waited_for_until_patience_is_over(database: Database) -> None:
    assert write(database, Fails(4, Away()), patience=PATIENCE) == 5

    with pytest.raises(OperationalError):
        write(database, Fails(99, Away()), patience=timedelta(seconds=0.5))


def test_what_the_caller_raises_is_not_tried_again(database: Database) -> None:
    calls = []

    def body(session: Session) -> None:
        calls.append(1)
        raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input"):
        write(database, body, patience=PATIENCE)
    assert calls == [1]
