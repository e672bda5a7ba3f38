"""One API in this process for all that hypothesis sends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import migrations
from app import log
from app.db.engine import Database, make_engine
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode, Settings
from app.storage import LocalStore


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    log.configure(json=False)
    engine = make_engine(f"sqlite:///{folder / 'fuzz.db'}")
    migrations.upgrade(engine)
    settings = Settings(data_dir=folder, model_cache=folder / "models", auth=AuthMode.OFF, rate_limit=0)
    api = build_app(Database(engine), LocalStore(folder / "artifacts"), NullDispatcher(), settings)
    yield TestClient(api, raise_server_exceptions=False)
    engine.dispose()
