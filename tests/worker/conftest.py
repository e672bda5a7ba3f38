"""Workers with short times."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.db.engine import Database
from app.settings import Settings
from tests.worker.rig import Rig


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=database.engine.url.render_as_string(hide_password=False),
        heartbeat=timedelta(seconds=0.3),
        lease=timedelta(seconds=3),
        sweep=timedelta(seconds=0.3),
        hint=timedelta(seconds=1),
        idle_poll=timedelta(seconds=0.2),
        grace=timedelta(seconds=2),
        stall=timedelta(seconds=20),
    )


@pytest.fixture
def rig(database: Database, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """What a test leaves behind must be whole, whatever it did, unless it makes rows up."""
    rig = Rig(database, settings)
    yield rig
    if request.node.get_closest_marker("made_up_rows") is None:
        rig.check_whole()
