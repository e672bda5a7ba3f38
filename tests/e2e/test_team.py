"""A team's deployment: Postgres, Redis, Celery workers, a sweeper, and the API apart from them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, func, make_url, select, update

import migrations
from app.jobs.models import Job
from app.tables import Base
from tests.e2e.service import FACTS, METHOD, STEPS, TRAINING, Json, Outcome, Service, running, serving

PHASES = ("preparing", "baseline", "generating", "training", "evaluating", "packaging")


@dataclass(frozen=True)
class Team:
    service: Service
    workers: dict[str, subprocess.Popen[bytes]]
    database: Engine

    def worker_of(self, job_id: str) -> subprocess.Popen[bytes]:
        """Return the worker that holds the job; a child of it signs the lease."""
        with self.database.connect() as connection:
            owner = connection.scalars(select(Job.lease_owner).where(Job.id == job_id)).one()
        assert owner is not None
        return self.workers[str(os.getsid(int(owner.split(":")[1])))]

    def end_lease(self, job_id: str) -> None:
        """Let time pass until nobody holds the job any more."""
        ended = {"lease_expires_at": datetime.now(UTC) - timedelta(hours=1)}
        owned = update(Job).where(Job.id == job_id, Job.lease_owner.is_not(None))
        with self.database.begin() as connection:
            connection.execute(owned.values(ended))

    def rows_of(self, job_id: str) -> dict[str, int]:
        """Count what is stored about a job, by table."""
        counts = {}
        with self.database.connect() as connection:
            for table in Base.metadata.sorted_tables:
                if "job_id" in table.columns:
                    count = select(func.count()).select_from(table).where(table.c.job_id == job_id)
                    counts[table.name] = connection.scalars(count).one()
        return counts


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[Engine]:
    """A database of its own: other tests empty theirs."""
    name = f"team_{uuid4().hex}"
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine = create_engine(make_url(postgres_server).set(database=name))
    migrations.upgrade(engine)
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture(scope="module")
def team(
    database: Engine,
    redis_url: str,
    models: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    environment = {
        **models,
        "MIXSD_DATA_DIR": str(folder),
        "MIXSD_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "MIXSD_REDIS_URL": redis_url,
    }
    with ExitStack() as stack:

        def start(command: str) -> subprocess.Popen[bytes]:
            log = folder / f"{uuid4().hex}.log"
            return stack.enter_context(running(command, environment=environment, log=log))

        start("sweeper")
        workers = [start("worker") for _ in range(3)]  # one of them will be killed
        service, _ = stack.enter_context(serving("api", environment, folder))
        yield Team(service, {str(worker.pid): worker for worker in workers}, database)


def test_two_workers_make_what_one_machine_makes_and_one_may_be_killed(team: Team, expected: Outcome) -> None:
    service = team.service
    disturbed = service.submit(holds_at="training:3@1")
    other = service.submit()
    service.until_held(disturbed, "training", 3)

    worker = team.worker_of(disturbed)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    team.end_lease(disturbed)

    assert (service.succeeded(other)["attempt"], service.outcome(other)) == (1, expected)
    assert (service.succeeded(disturbed)["attempt"], service.outcome(disturbed)) == (2, expected)
    assert service.steps_saved(disturbed) == list(range(1, STEPS + 1))  # no step was taken twice


def test_a_cancel_takes_effect_within_seconds_in_every_phase(team: Team) -> None:
    """Long before the grace is over after which a runner that does not heed it is killed."""
    service = team.service
    jobs = {phase: service.submit(slow_in=phase, holds_at=f"{phase}:0@1") for phase in PHASES}
    asked_at: dict[str, float] = {}
    took: dict[str, float] = {}

    deadline = time.monotonic() + 400
    while took.keys() != jobs.keys():
        assert time.monotonic() < deadline, (asked_at, took)
        for phase, job_id in jobs.items():
            job = service.read(f"/jobs/{job_id}")
            if job["phase"] == phase and phase not in asked_at:
                service.call("POST", f"/jobs/{job_id}/cancel", status=202)
                asked_at[phase] = time.monotonic()
            elif job["terminal"] and phase not in took:
                assert job["status"] == "cancelled", (phase, job)
                took[phase] = time.monotonic() - asked_at[phase]
        time.sleep(0.05)

    assert max(took.values()) < 120, took
    for job_id in jobs.values():
        assert service.adapters(job_id) == []
        assert service.every(f"/jobs/{job_id}/facts") == []
        assert team.rows_of(job_id)["events"] > 0
        service.call("DELETE", f"/jobs/{job_id}", status=204)
        service.call("GET", f"/jobs/{job_id}", status=404)
        left = {table for table, count in team.rows_of(job_id).items() if count}
        assert left == {"work_spans"}  # what the project is charged for


def test_a_job_that_cannot_succeed_says_what_to_do(team: Team) -> None:
    strict = {**METHOD, "fallback_to_answer": False, "max_new_tokens": 2, "max_attempts": 1}
    requests: dict[str, Json] = {
        "no_chat_template": {"base_model": "tiny/silent"},
        "hub_unreachable": {"base_model": "tiny/absent"},
        "no_supervision": {"method": strict},
        "bad_setting": {"training": {**TRAINING, "target_modules": ["nowhere"]}},
    }
    advice = {
        "no_chat_template": "instruction-tuned model",
        "hub_unreachable": "mixsd models add",
        "no_supervision": "fallback_to_answer",
        "bad_setting": "no layer nowhere",
    }
    jobs = {code: team.service.submit(**changes) for code, changes in requests.items()}

    ended = {code: team.service.ended(job_id) for code, job_id in jobs.items()}

    for code, job in ended.items():
        assert (job["status"], job["attempt"], job["adapter_id"]) == ("failed", 1, None), job
        who = "system" if code == "hub_unreachable" else "user"
        assert (job["error"]["code"], job["error"]["category"]) == (code, who)
        assert advice[code] in job["error"]["message"]
        assert team.service.adapters(job["id"]) == []
        assert team.service.events(job["id"])[-1]["type"] == "job.failed"
    phases = {code: [phase["phase"] for phase in job["progress"]] for code, job in ended.items()}
    assert phases["no_supervision"] == ["preparing", "baseline", "generating"]
    assert phases["bad_setting"] == ["preparing"]  # before any text is made
    counts = team.service.read(f"/jobs/{jobs['no_supervision']}/report")["counts"]
    assert counts == {"facts": len(FACTS)} | dict.fromkeys(counts.keys() - {"facts"}, 0)
