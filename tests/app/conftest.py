"""The API, on both databases, with a store in a folder and a dispatcher that only listens."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app import log
from app.db.engine import Database
from app.main import build_app
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from app.webhooks.addresses import Resolver


class ListeningDispatcher:
    """Remembers the queues that were hinted at."""

    def __init__(self) -> None:
        self.hints: list[str] = []
        self.closed = False

    def hint(self, queue: str) -> None:
        self.hints.append(queue)

    def ping(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        model_cache=tmp_path / "models",
        allowed_models=("owner/model",),
        max_body_bytes=100_000,
        max_upload_bytes=200_000,
        max_facts=1000,
        auth=AuthMode.OFF,
        rate_limit=0,
    )


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts")


@pytest.fixture
def dispatcher() -> ListeningDispatcher:
    return ListeningDispatcher()


@pytest.fixture
def resolve() -> Resolver:
    """Names under `internal.` lead into the network, all others out of it; nobody is asked."""
    return lambda host, _: ["10.0.0.1" if host.startswith("internal.") else "93.184.215.14"]


@pytest.fixture
def api(
    database: Database,
    store: LocalStore,
    dispatcher: ListeningDispatcher,
    settings: Settings,
    resolve: Resolver,
) -> FastAPI:
    log.configure(json=False)
    return build_app(database, store, dispatcher, settings, resolve=resolve)


@pytest.fixture
def client(api: FastAPI) -> TestClient:
    return TestClient(api, raise_server_exceptions=False)
