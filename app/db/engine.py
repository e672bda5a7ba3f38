"""Engines and transactions. The only module that knows which database is in use."""

import math
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.clock import Clock, utc_now
from app.db.base import UtcDateTime
from app.db.patient import PING, SILENCE, PatientConnection

REST: Final = 1.0
"""Seconds after which a connection is tried before it is used."""

DatabaseFailure = SQLAlchemyError
"""Whatever goes wrong between us and the database, for those who know no SQL."""


class Database:
    """Units of work on one database.

    `begin()` commits on success and rolls back on any exception; `read()` never writes. On
    SQLite writers of this process take turns, and each starts with BEGIN IMMEDIATE, so that
    none of them can fail half-way because another one holds the file.
    """

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.clock = utc_now if clock is None and self.is_sqlite else clock
        """What tells the time in place of the server; None if the server is asked."""
        self._turn: AbstractContextManager[Any] = threading.RLock() if self.is_sqlite else nullcontext()
        self._writers = sessionmaker(engine, expire_on_commit=False)
        readers = engine.execution_options(mixsd_readonly=True)
        self._readers = sessionmaker(readers, expire_on_commit=False, autoflush=False)
        glancers = readers if self.is_sqlite else readers.execution_options(isolation_level="AUTOCOMMIT")
        self._glancers = sessionmaker(glancers, expire_on_commit=False, autoflush=False)

    @contextmanager
    def begin(self) -> Generator[Session]:
        """One transaction that may write."""
        with self._turn, self._writers.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Generator[Session]:
        """One consistent view, for reading only."""
        with self._readers() as session:
            yield session

    @contextmanager
    def glance(self) -> Generator[Session]:
        """A few short questions, for reading only and for all of their rows at once.

        Each is asked by itself: on a server that saves the round trips of a transaction, in which it
        would see no more of one moment, since each question there sees what was committed before it.
        """
        with self._glancers() as session:
            yield session

    def moment(self) -> ColumnElement[datetime]:
        """Return the time that `now` would, as a part of a question that is asked anyway."""
        return func.clock_timestamp() if self.clock is None else literal(self.clock(), UtcDateTime())

    def now(self, session: Session) -> datetime:
        """Return the time that leases are measured by: the server's, so that workers agree.

        SQLite has no server; there the clock of this machine is the only one.
        """
        if self.clock is not None:
            return self.clock()
        instant: datetime = session.scalars(select(func.clock_timestamp())).one()
        return instant


def make_engine(url: str) -> Engine:
    """Open a pool for `url`, with SQLite set up to behave like a server database.

    SQLite gets its folder, foreign keys, a write-ahead log (readers do not block the writer),
    full durability and a busy timeout, because API, supervisor and runner share the file.
    Postgres gets limits on every wait, on both sides, so that a frozen server is noticed, and so
    that a client that froze inside a transaction does not hold its rows for ever.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        waits = "-c statement_timeout=5000 -c lock_timeout=4000 -c idle_in_transaction_session_timeout=10000"
        limits = {"connect_timeout": 2, "options": waits}
        engine = create_engine(
            address,
            hide_parameters=True,
            pool_size=8,
            max_overflow=0,
            pool_timeout=2,
            connect_args=limits,
        )
        _be_patient(engine)
        _ask_after_a_rest(engine)
        return engine

    engine = create_engine(address, hide_parameters=True, connect_args={"timeout": 30})

    @event.listens_for(engine, "do_connect")
    def _make_folder(*_: object) -> None:
        Path(address.database or ".").parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        readonly = connection.get_execution_options().get("mixsd_readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


def without_limits(connection: Connection) -> None:
    """Let the statements of this transaction take as long as they need: the server's limits and ours go.

    For work on whole tables, which nobody waits for. How long is waited for a lock stays limited, since
    others wait behind whoever waits for one.
    """
    if connection.dialect.name == "postgresql":
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))
        driver: Any = connection.connection.driver_connection
        driver.silence = math.inf


def _be_patient(engine: Engine) -> None:
    """Have the driver give up on a server that says nothing."""

    @event.listens_for(engine, "do_connect")
    def _connect(_: object, __: object, arguments: Any, options: Any) -> Any:
        return PatientConnection.connect(*arguments, **options)

    @event.listens_for(engine, "checkin")
    def _limit_again(connection: Any, _: object) -> None:
        if connection is not None:
            connection.silence = SILENCE


def _ask_after_a_rest(engine: Engine) -> None:
    """Before a connection that has rested is used, see that the server is still at its other end.

    One that was used a moment ago is not asked: a round trip more would be a good part of a short
    request. If the server went away in that moment the request fails, and all connections are renewed.
    """

    @event.listens_for(engine, "checkin")
    def _note(_: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: Any, _: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < REST:
            return
        connection.silence = PING
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error
        finally:
            connection.silence = SILENCE
