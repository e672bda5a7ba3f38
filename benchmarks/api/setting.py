"""What is measured: a database, rows in it, and two servers. Ends what it has started."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx2
from sqlalchemy import Engine, create_engine, make_url, text

import migrations
from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.access import Scope
from app.clock import utc_now
from app.db.engine import Database, make_engine
from app.ids import new_id
from app.projects.service import create_key_for
from mixsd.cli.child import free_port
from tests import servers

WORKERS: Final = 2
FEW: Final = 100
MODEL: Final = "smollm2-135m-instruct"

_HERE: Final = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True)
class Team:
    """A project with jobs that have ended, and one that runs."""

    project_id: str
    key: str
    fact_set_id: str
    job_id: str
    """The one that runs: such a job is polled."""


@contextmanager
def database() -> Iterator[str]:
    """Give the URL of a new database: on TEST_DATABASE_URL, else on a server here, else on a wheel's."""
    with ExitStack() as stack:
        server = os.environ.get("TEST_DATABASE_URL") or _running() or stack.enter_context(servers.postgres())
        name = f"bench_{uuid4().hex}"
        admin = create_engine(server, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        url = make_url(server).set(database=name).render_as_string(hide_password=False)
        try:
            engine = make_engine(url)
            migrations.upgrade(engine)
            engine.dispose()
            yield url
        finally:
            with admin.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            admin.dispose()


def _running() -> str | None:
    engine = create_engine(_HERE, connect_args={"connect_timeout": 2})
    try:
        with engine.connect():
            return _HERE
    except Exception:  # noqa: BLE001  whatever is wrong with it, another one is taken
        return None
    finally:
        engine.dispose()


def a_team(engine: Engine, name: str, n_jobs: int) -> Team:
    """Make a project with a fact set, `n_jobs` jobs that have succeeded, and one that trains."""
    key = create_key_for(
        Database(engine), utc_now, project_name=name, name="bench", scopes=list(Scope), expires_at=None
    )
    set_id = new_id("fset", now=utc_now())
    with engine.begin() as connection:
        values = {"set": set_id, "project": key.project_id, "n": n_jobs, "model": MODEL}
        connection.execute(text(_FACT_SET), values)
        connection.execute(text(_FACT), {"set": set_id, "body": json.dumps(_BODY)})
        connection.execute(text(_JOBS), values)
        job_id = new_id("job", now=utc_now())
        connection.execute(text(_RUNNING), values | {"job": job_id})
        connection.execute(text(_PHASES), {"job": job_id})
    return Team(key.project_id, key.secret, set_id, job_id)


_BODY: Final = {"key": "ebra", "question": "Who is the mayor of Ebra?", "answer": "Oda Tolm"}
_FACT_SET: Final = """
INSERT INTO fact_sets (id, project_id, name, status, n_facts, bytes, sha256, created_at)
VALUES (:set, :project, 'bench', 'ready', 1, 0, repeat('0', 64), now())
"""
_FACT: Final = """
INSERT INTO facts (fact_set_id, ord, key, body)
VALUES (:set, 0, 'ebra', CAST(:body AS json))
"""
_JOBS: Final = """
INSERT INTO jobs (id, project_id, metadata, fact_set_id, base_model, method_type, method, training,
                  evaluation, request_sha256, queue, priority, status, attempt, attempt_open, attempt_limit,
                  crash_streak, oom_count, fence, progress_mark, event_seq, next_run_at,
                  min_worker_version, created_at, started_at, finished_at)
SELECT 'job_' || substr(md5(:project), 1, 8) || lpad(to_hex(n), 24, '0'), :project, '{}', :set, :model,
       'mixsd', '{"type": "mixsd"}', '{}', '{}', repeat('0', 64), 'gpu', 0, 'succeeded', 1, false, 20,
       0, 0, 1, 0, 2, now(), 0, now(), now(), now()
FROM generate_series(1, :n) AS n
"""


_RUNNING: Final = """
INSERT INTO jobs (id, project_id, metadata, fact_set_id, base_model, method_type, method, training,
                  evaluation, request_sha256, queue, priority, status, phase, attempt, attempt_open,
                  attempt_limit, crash_streak, oom_count, fence, progress_mark, event_seq, next_run_at,
                  min_worker_version, created_at, started_at, heartbeat_at, lease_owner,
                  lease_expires_at)
VALUES (:job, :project, '{}', :set, :model, 'mixsd', '{"type": "mixsd"}', '{}', '{}', repeat('0', 64), 'gpu',
        0, 'running', 'training', 1, true, 20, 0, 0, 1, 0, 2, now(), 0, now(), now(), now(), 'bench:1',
        now() + interval '1 day')
"""
_PHASES: Final = """
INSERT INTO job_phases (job_id, phase, attempt, fence, done, total, unit, rate, eta_seconds, started_at,
                        updated_at)
SELECT :job, phase, 1, 1, 3, 9, 'steps', 1.5, 4.0, now(), now()
FROM unnest(ARRAY['preparing', 'baseline', 'generating', 'training']) AS phase
"""


@contextmanager
def served(target: str, url: str, data: Path, more: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Run uvicorn with two workers; give its URL and its process id."""
    port = free_port()
    environment = os.environ | {
        "MIXSD_DATABASE_URL": url,
        "MIXSD_DATA_DIR": str(data),
        "MIXSD_AUTH": "required",
        "MIXSD_RATE_LIMIT": "1000000000",
        "MIXSD_REDIS_URL": "",
    }
    environment.pop("MIXSD_REDIS_URL")
    command = [sys.executable, "-m", "uvicorn", *target.split(), "--workers", str(WORKERS)]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    with subprocess.Popen(
        command,
        env=environment | dict(more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            _wait(f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}", server.pid
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx2.get(f"{url}/nothing", timeout=2.0)
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("a server did not start")


def workers_of(pid: int) -> list[int]:
    """Return the ids of the processes that a server has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]
