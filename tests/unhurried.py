"""Connections to Postgres for tests that are not about its silence.

A service gives up on a server that is silent for some seconds, and on a client that is. On a busy machine
any process may stand still for longer, and no test may fail of that.
"""

from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.pool import QueuePool

from app.db.patient import PatientConnection

LONG: Final = 300
"""Seconds."""

_LIMITS: Final = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def unhurried(engine: Engine) -> Engine:
    """Have the engine, which has no connection yet, wait long wherever it waits. Returns it."""
    if engine.dialect.name != "postgresql":
        return engine

    arguments, options = engine.dialect.create_connect_args(engine.url)
    limits = " ".join(f"-c {limit}={LONG * 1000}" for limit in _LIMITS)
    waits = {**options, "connect_timeout": LONG, "options": limits}

    def connect() -> Any:
        return PatientConnection.connect(*arguments, **waits)

    @event.listens_for(engine, "connect", insert=True)
    @event.listens_for(engine, "checkout")
    def _be_patient(connection: Any, *_: object) -> None:
        connection.silence = LONG

    pool = engine.pool
    assert isinstance(pool, QueuePool)
    pool._creator, pool._timeout = connect, LONG  # noqa: SLF001  there is no other way once it is made
    return engine
