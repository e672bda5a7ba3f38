"""Workers with short times whose pipeline misbehaves as a job's labels say, and servers to harm."""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url

import migrations
from app.db.engine import Database, make_engine
from app.ids import JobId
from app.jobs.models import Job
from app.jobs.states import JobStatus
from app.settings import Settings
from tests.servers import OwnPostgres, OwnRedis, own_postgres, own_redis
from tests.worker.rig import TESTING, Rig
from worker.child import environment_for
from worker.supervisor import Supervisor
from worker.transactions import TRANSIENT

MISBEHAVING = {**TESTING, "MIXSD_PIPELINE": "tests.faults.misbehaving:run"}

LONG = os.environ.get("MIXSD_LONG_FAULTS") == "1"
"""Whether tests repeat what they do many times: `make faults`."""


class FaultRig(Rig):
    """A rig whose jobs may misbehave in more ways."""

    def supervisor(
        self, *, crash_at: Sequence[str] = (), stop: Callable[[], bool] = lambda: False
    ) -> Supervisor:
        environ = {**os.environ, **MISBEHAVING, "MIXSD_CRASH_AT": ",".join(crash_at)}
        return Supervisor(self.database, self.settings, stop=stop, environ=environ)

    def until(self, done: Callable[[], Any], seconds: float = 300) -> None:
        """Wait for something to become true; longer than elsewhere, since whole processes begin.

        A database that does not answer in time is asked again.
        """

        def quietly() -> Any:
            try:
                return done()
            except TRANSIENT:
                return False

        super().until(quietly, seconds)

    def until_status(self, job_id: JobId, status: JobStatus, seconds: float = 300) -> Job:
        return super().until_status(job_id, status, seconds)

    def environment(self) -> dict[str, str]:
        return environment_for(self.settings, {**os.environ, **MISBEHAVING})


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=database.engine.url.render_as_string(hide_password=False),
        heartbeat=timedelta(seconds=0.5),
        lease=timedelta(seconds=30),
        sweep=timedelta(seconds=0.3),
        hint=timedelta(seconds=1),
        idle_poll=timedelta(seconds=0.2),
        grace=timedelta(seconds=3),
        stall=timedelta(seconds=120),
    )


@pytest.fixture
def rig(database: Database, settings: Settings) -> FaultRig:
    return FaultRig(database, settings)


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def own_rig(own_server: OwnPostgres, settings: Settings, tmp_path: Path) -> Iterator[FaultRig]:
    """A rig on a server that nobody else uses, in a database of its own."""
    name = f"faults_{uuid4().hex}"
    admin = create_engine(own_server.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    url = make_url(own_server.url).set(database=name).render_as_string(hide_password=False)
    engine = make_engine(url)
    migrations.upgrade(engine)
    yield FaultRig(Database(engine), settings.model_copy(update={"database_url": url}))
    engine.dispose()


@pytest.fixture(scope="module")
def own_broker() -> Iterator[OwnRedis]:
    with own_redis() as server:
        yield server
