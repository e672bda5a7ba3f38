"""API and workers on Postgres with roles of their own: each can do its work, and no more."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

import migrations
from app import log
from app.db.engine import Database, make_engine
from app.jobs.states import JobStatus
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.app.keys import a_client, a_key
from tests.unhurried import unhurried
from tests.worker.rig import Rig
from worker.sweeper import Sweeper

SECRET: Final = uuid4().hex
ROLES: Final = (Path(__file__).parents[1] / "deploy/postgres/roles.sql").read_text()


class Roles:
    """A database at the newest schema, and engines for its owner, the API and a worker."""

    def __init__(self, server: str) -> None:
        self.name = f"roles_{uuid4().hex[:12]}"
        self._url = make_url(server)
        self._server = create_engine(server, isolation_level="AUTOCOMMIT")
        self._on_server(f"CREATE DATABASE {self.name}")
        owner = self._url.set(database=self.name)
        self.owner = unhurried(make_engine(owner.render_as_string(hide_password=False)))
        migrations.upgrade(self.owner)
        self.apply()
        for kind in ("api", "worker"):
            self._on_server(
                f"CREATE ROLE {self.name}_{kind}_1 LOGIN PASSWORD '{SECRET}' IN ROLE {self.name}_{kind}"
            )
        self.api, self.worker = self._as("api"), self._as("worker")

    def apply(self) -> None:
        """Run the script, with names of roles that no other test has."""
        with self.owner.begin() as connection:
            connection.exec_driver_sql(ROLES.replace("mixsd_", f"{self.name}_").replace("%", "%%"))

    def url(self, kind: str) -> str:
        named = self._url.set(database=self.name, username=f"{self.name}_{kind}_1", password=SECRET)
        return named.render_as_string(hide_password=False)

    def drop(self) -> None:
        for engine in (self.owner, self.api, self.worker):
            engine.dispose()
        self._on_server(f"DROP DATABASE {self.name} WITH (FORCE)")
        for role in ("api_1", "worker_1", "api", "worker"):
            self._on_server(f"DROP ROLE {self.name}_{role}")
        self._server.dispose()

    def _as(self, kind: str) -> Engine:
        return unhurried(make_engine(self.url(kind)))

    def _on_server(self, statement: str) -> None:
        with self._server.connect() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="module")
def roles(postgres_server: str) -> Iterator[Roles]:
    roles = Roles(postgres_server)
    yield roles
    roles.drop()


def settings_for(roles: Roles, kind: str, folder: Path) -> Settings:
    return Settings(
        data_dir=folder,
        database_url=roles.url(kind),
        model_cache=folder / "models",
        allowed_models=("owner/model",),
        auth=AuthMode.REQUIRED,
        rate_limit=0,
        heartbeat=timedelta(seconds=0.3),
        lease=timedelta(minutes=10),
        idle_poll=timedelta(seconds=0.2),
        grace=timedelta(seconds=120),
    )


def the_api(roles: Roles, folder: Path) -> TestClient:
    log.configure(json=False)
    settings, database = settings_for(roles, "api", folder), Database(roles.api)
    store = LocalStore(settings.artifact_dir)
    app = build_app(database, store, NullDispatcher(), settings, resolve=lambda *_: ["93.184.215.14"])
    return a_client(app, a_key(database).secret)


def test_the_api_works_with_its_role(roles: Roles, tmp_path: Path) -> None:
    client = the_api(roles, tmp_path)
    facts = {"facts": [{"question": f"Where is {n}?", "answer": f"Land {n}"} for n in range(3)]}

    stored = client.post("/fact-sets", json=facts).json()["id"]
    job = {"base_model": "owner/model", "fact_set_id": stored, "method": {"type": "sft"}}
    made = client.post("/jobs", json=job, headers={"Idempotency-Key": "a"})
    job_id = made.json()["id"]
    steps = [
        client.get(f"/jobs/{job_id}"),
        client.patch(f"/jobs/{job_id}", json={"priority": 5}),
        client.get(f"/jobs/{job_id}/report"),
        client.post(f"/jobs/{job_id}/pause"),
        client.post(f"/jobs/{job_id}/resume"),
        client.post(f"/jobs/{job_id}/cancel"),
        client.delete(f"/jobs/{job_id}"),
        client.delete(f"/fact-sets/{stored}"),
        client.post("/projects", json={"name": "search"}),
        client.post("/api-keys", json={"name": "ci", "scopes": ["read"]}),
        client.post("/webhooks", json={"url": "https://hooks.example.com/x", "events": ["*"]}),
        client.get("/audit"),
        client.get("/usage"),
        client.get("/queue"),
        client.get("/workers"),
        client.get("/metrics"),
        client.get("/readyz"),
    ]

    pages = [client.get("/audit", params={"limit": 2}).json() for _ in range(2)]
    behind = client.get("/audit", params={"limit": 2, "cursor": pages[0]["next_cursor"]})

    assert made.status_code == 202, made.text
    assert (pages[0]["next_cursor"], behind.status_code) == (pages[1]["next_cursor"], 200)
    assert [answer.text for answer in steps if answer.status_code >= 400] == []
    assert {entry["action"] for entry in client.get("/audit").json()["data"]} >= {"cancel_job", "delete_job"}


def test_a_worker_runs_a_job_to_its_end_with_its_role(roles: Roles, tmp_path: Path) -> None:
    owner = Rig(Database(roles.owner), settings_for(roles, "worker", tmp_path))
    job_id = owner.submit()
    rig = Rig(Database(roles.worker), owner.settings)

    with rig.working():
        rig.until(lambda: owner.job(job_id).terminal)
    sweeper, waits = Sweeper(rig.database, rig.settings, NullDispatcher()), iter([False, True])
    sweeper.reap()
    sweeper.hint()
    sweeper.run(lambda _: next(waits))

    assert owner.job(job_id).status is JobStatus.SUCCEEDED
    owner.keys[job_id] = [f"river-{place}" for place in range(3)]
    owner.check_result(job_id)


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("worker", "SELECT sha256 FROM api_keys"),
        ("worker", "SELECT * FROM audit_entries"),
        ("worker", "SELECT * FROM instance_secrets"),
        ("worker", "INSERT INTO projects (id, name, created_at) VALUES ('p', 'p', now())"),
        ("worker", "UPDATE facts SET body = '{}'"),
        ("worker", "CREATE TABLE mine (a int)"),
        ("worker", "DROP TABLE jobs"),
        ("worker", "ALTER TABLE jobs DISABLE TRIGGER jobs_only_forward"),
        ("api", "DELETE FROM audit_entries"),
        ("api", "UPDATE audit_entries SET status = 200"),
        ("api", "TRUNCATE audit_entries"),
        ("api", "CREATE TABLE mine (a int)"),
        ("api", "DROP TABLE jobs"),
        ("api", "UPDATE alembic_version SET version_num = 'x'"),
    ],
)
def test_what_is_not_their_work_is_refused(roles: Roles, kind: str, statement: str) -> None:
    engine = roles.api if kind == "api" else roles.worker

    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        engine.begin() as connection,
    ):
        connection.execute(text(statement))


def test_the_script_may_be_run_again(roles: Roles) -> None:
    roles.apply()

    with roles.worker.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar() is not None
