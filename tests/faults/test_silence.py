"""A database that is frozen, far away, or cut off in the middle of an answer."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import OperationalError

from app.db import patient
from app.db.engine import make_engine, without_limits
from tests.faults.proxy import Mode, Proxy


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    address = make_url(postgres_url)
    with Proxy(address.host or "127.0.0.1", address.port or 5432) as proxy:
        yield proxy


@pytest.fixture
def engine(proxy: Proxy, postgres_url: str) -> Iterator[Engine]:
    """An engine whose connections go through the proxy."""
    address = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port)
    engine = make_engine(address.render_as_string(hide_password=False))
    yield engine
    engine.dispose()


def answer(engine: Engine) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(text("SELECT 1")).scalar_one()
        return found


def ended(threads: list[threading.Thread], seconds: float) -> bool:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def test_a_call_that_gets_no_answer_comes_back_and_so_do_those_that_wait_for_its_connection(
    engine: Engine, proxy: Proxy
) -> None:
    errors: list[OperationalError] = []
    connection = engine.connect()
    connection.execute(text("SELECT 1"))

    def ask() -> None:
        try:
            connection.execute(text("SELECT 2"))
        except OperationalError as error:
            errors.append(error)

    proxy.mode = Mode.BLACKHOLE
    thread = threading.Thread(target=ask)
    thread.start()
    assert ended([thread], seconds=300)
    (error,) = errors
    assert isinstance(error.orig, patient.SilentServerError)
    assert error.connection_invalidated
    connection.close()

    proxy.mode = Mode.OPEN
    assert answer(engine) == 1


def test_a_resting_connection_to_a_silent_server_is_not_used_and_connecting_has_an_end(
    engine: Engine, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.engine.REST", 0.0)
    assert answer(engine) == 1
    proxy.mode = Mode.BLACKHOLE

    with pytest.raises(OperationalError):
        answer(engine)

    proxy.mode = Mode.OPEN
    assert answer(engine) == 1


@pytest.mark.parametrize("trouble", ["reset", "half close"])
def test_a_broken_connection_is_an_error_once_and_then_renewed(
    engine: Engine, proxy: Proxy, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.engine.REST", 600.0)  # seconds that are a moment
    assert answer(engine) == 1
    if trouble == "reset":
        proxy.reset()
    else:
        proxy.half_close()

    with pytest.raises(OperationalError):
        answer(engine)  # it was used a moment ago, so nobody tried it first

    assert answer(engine) == 1


@pytest.mark.parametrize("mode", [Mode.DELAY, Mode.DRIP])
def test_a_slow_network_is_not_taken_for_a_silent_one(
    engine: Engine, proxy: Proxy, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.engine.SILENCE", 60.0)
    assert answer(engine) == 1
    proxy.mode, proxy.seconds = mode, 0.001

    assert answer(engine) == 1


def test_a_frozen_server_process_is_given_up(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    connection = engine.connect()
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    try:
        os.kill(pid, signal.SIGSTOP)
    except (PermissionError, ProcessLookupError):
        pytest.skip("the server's processes are not ours to freeze")
    try:
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    finally:
        os.kill(pid, signal.SIGCONT)
        connection.close()
        engine.dispose()


def test_a_long_answer_in_many_pieces_is_no_silence(
    engine: Engine, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock() -> float:
        """Seconds that pass with what is heard of the server alone, so that it is never silent for long."""
        return 20.0 * proxy.pieces_from_server()

    monkeypatch.setattr(patient, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(patient.PatientConnection, "silence", 70.0)
    slowly = "SELECT repeat('x', 100000), pg_sleep(0.2) FROM generate_series(1, 8)"

    with engine.connect() as connection:
        assert len(connection.execute(text(slowly)).all()) == 8


def test_work_on_whole_tables_may_take_long_and_what_comes_after_it_may_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = 1.0

    def clock() -> float:
        return pace * time.monotonic()

    def sleep(connection: Connection) -> None:
        """Two seconds, which seem minutes."""
        nonlocal pace
        pace = 120.0
        try:
            connection.execute(text("SELECT pg_sleep(2)"))
        finally:
            pace = 1.0

    monkeypatch.setattr(patient, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("app.db.engine.SILENCE", 60.0)
    monkeypatch.setattr(patient.PatientConnection, "silence", 60.0)

    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 1000"))
        without_limits(connection)
        sleep(connection)
    with pytest.raises(OperationalError), engine.begin() as connection:
        sleep(connection)
