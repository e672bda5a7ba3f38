"""A migrated database on SQLite and on Postgres, and servers to talk to."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, create_engine, delete, make_url, text

import migrations
from app.db.engine import Database, make_engine
from app.projects.models import DEFAULT_PROJECT, Project
from app.tables import Base
from tests import servers
from tests.unhurried import unhurried

settings.register_profile(  # a slow machine is no failure
    "new", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# What passed once passes again.
settings.register_profile("same", settings.get_profile("new"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "new"))

LONGEST = ("tests/real/", "tests/e2e/", "tests/faults/", "tests/documents/", "tests/model/")
"""Folders whose modules take minutes."""


# Several workers share the cores: each, and what it starts, computes with its share and does not spin.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: at the end no worker waits for another's."""

    def place(item: pytest.Item) -> int:
        return next((at for at, folder in enumerate(LONGEST) if item.nodeid.startswith(folder)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What a test sets up of the process's logs ends with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of this session's own. What else is on the server is never touched."""
    name = f"test_{uuid4().hex}"
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a server that speaks S3, with credentials for it in the environment."""
    from tests.s3 import moto  # noqa: PLC0415  it loads boto3

    with pytest.MonkeyPatch.context() as patch, moto.serving() as endpoint:
        for name, value in moto.CREDENTIALS.items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An empty database at the newest migration."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('db') / 'test.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    engine = unhurried(make_engine(url))
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of base models that holds `tiny/random`. Not to be written to."""
    from tests.fixtures.tiny import register_tiny  # noqa: PLC0415  it loads torch

    cache = tmp_path_factory.mktemp("models")
    register_tiny(cache)
    return cache


@pytest.fixture
def database(engine: Engine) -> Iterator[Database]:
    """Real transactions. Rows are deleted afterwards, but for those of the migrations."""
    yield Database(engine)
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            rows = delete(table)
            connection.execute(
                rows.where(Project.id != DEFAULT_PROJECT) if table.name == "projects" else rows
            )
