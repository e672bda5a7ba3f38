"""Workers that look often, and that no stall of the machine makes lose a job."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from app.db.engine import Database
from app.settings import Settings
from tests.worker.rig import Rig


@pytest.fixture(scope="session")
def engine(engine: Engine) -> Iterator[Engine]:
    """The engine of all tests, but one that waits as long as it takes for a server, and has all its time.

    The processes that a test starts have the limits of the service, and must do with them.
    """
    if engine.dialect.name == "sqlite":
        yield engine
        return
    patient = create_engine(
        engine.url, hide_parameters=True, pool_size=8, max_overflow=0, pool_timeout=300, pool_pre_ping=True
    )
    yield patient
    patient.dispose()


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Only what is done often is short. A test of what comes when a time is over makes that one short."""
    return Settings(
        data_dir=tmp_path,
        database_url=database.engine.url.render_as_string(hide_password=False),
        heartbeat=timedelta(seconds=0.3),
        lease=timedelta(minutes=5),
        sweep=timedelta(seconds=0.3),
        hint=timedelta(seconds=1),
        idle_poll=timedelta(seconds=0.2),
        grace=timedelta(minutes=1),
        stall=timedelta(minutes=20),
    )


@pytest.fixture
def rig(database: Database, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """What a test leaves behind must be whole, whatever it did, unless it makes rows up."""
    rig = Rig(database, settings)
    yield rig
    if request.node.get_closest_marker("made_up_rows") is None:
        rig.check_whole()
