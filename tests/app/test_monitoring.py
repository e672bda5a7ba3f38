"""What Prometheus reads: who may, what it says, and what it costs."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert

from app.access import Scope
from app.clock import utc_now
from app.db.engine import Database, make_engine
from app.ids import JobId, WorkerId, new_id
from app.jobs import leases, workers
from app.jobs.leases import Failure
from app.jobs.models import Job, JobPhase
from app.jobs.states import JobStatus, Phase
from app.jobs.workers import Introduction, Report
from app.main import build_app
from app.monitoring.service import KEPT, ServiceMeasures
from app.settings import AuthMode, MetricsAccess, Settings
from app.storage import LocalStore
from app.web.measures import HttpMeasures
from tests.app.conftest import ListeningDispatcher
from tests.app.keys import a_client, a_key
from tests.factories import NOW, a_fact_set, a_job

LEASE = timedelta(seconds=60)
LOST = Failure("system", "worker_lost", "the worker was lost", retryable=True)

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def scraped(database: Database) -> Samples:
    """What is read now, with nothing kept from before."""
    return samples_of(HttpMeasures().render([ServiceMeasures(database, lease=LEASE)]).decode())


def ends(database: Database, how: str, now: datetime) -> None:
    """Claim the first job and end it in this way."""
    with database.begin() as session:
        claim = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=LEASE)
        assert claim is not None
        match how:
            case "succeeded":
                leases.publish(session, claim.job_id, claim.fence, now=now)
            case "failed":
                leases.fail(session, claim.job_id, claim.fence, LOST, now=now)
            case _:
                backoff = timedelta(hours=1)
                leases.crash(session, claim.job_id, claim.fence, LOST, now=now, backoff=backoff)


def test_jobs_queue_and_ends_are_counted(database: Database) -> None:
    fact_set = a_fact_set(database)
    now = utc_now()
    for how in ("succeeded", "failed", "lost", "waits"):
        a_job(database, fact_set.id, next_run_at=now - timedelta(seconds=100))
        if how != "waits":
            ends(database, how, now)

    found = scraped(database)

    counts = {str(status): value(found, "mixsd_jobs", status=str(status)) for status in JobStatus}
    assert {name: count for name, count in counts.items() if count} == {
        "queued": 2,
        "succeeded": 1,
        "failed": 1,
    }
    assert value(found, "mixsd_queue_jobs", queue="gpu") == 2
    assert 100 <= value(found, "mixsd_queue_oldest_seconds", queue="gpu") < 1000
    ended = {
        name: value(found, "mixsd_job_work_ended_total", outcome=name)
        for name in ("succeeded", "failed", "queued", "cancelled", "paused")
    }
    assert ended == {"succeeded": 1, "failed": 1, "queued": 1, "cancelled": 0, "paused": 0}
    assert value(found, "mixsd_job_attempts_lost_total") == 1
    assert value(found, "mixsd_database_up") == 1


def test_counts_do_not_fall_when_a_job_is_deleted(database: Database) -> None:
    job_id = a_job(database)
    ends(database, "failed", NOW)
    with database.begin() as session:
        session.delete(session.get_one(Job, job_id))

    found = scraped(database)

    assert value(found, "mixsd_jobs", status="failed") == 0
    assert value(found, "mixsd_job_work_ended_total", outcome="failed") == 1


def a_phase(job_id: JobId, phase: Phase, seconds: float | None, *, rate: float | None = None) -> JobPhase:
    return JobPhase(
        job_id=job_id,
        phase=phase,
        attempt=1,
        fence=1,
        done=5,
        total=10,
        unit="steps",
        rate=rate,
        started_at=NOW,
        updated_at=NOW,
        finished_at=None if seconds is None else NOW + timedelta(seconds=seconds),
    )


def test_phases_tell_how_long_they_took_and_how_fast_they_are(database: Database) -> None:
    fact_set = a_fact_set(database)
    done = [a_job(database, fact_set.id) for _ in range(4)]
    lease = {"lease_owner": "me", "lease_expires_at": NOW, "heartbeat_at": NOW}
    running = a_job(database, fact_set.id, status=JobStatus.RUNNING, phase=Phase.TRAINING, **lease)
    with database.begin() as session:
        session.add_all(
            a_phase(job, Phase.TRAINING, 10.0 * (place + 1), rate=99) for place, job in enumerate(done)
        )
        session.add(a_phase(running, Phase.TRAINING, None, rate=2.5))

    found = scraped(database)

    seconds = [
        value(found, "mixsd_job_phase_seconds", phase="training", quantile=quantile)
        for quantile in ("0.5", "0.9")
    ]
    assert seconds == [20, 40]
    assert value(found, "mixsd_job_phase_rate", phase="training", unit="steps") == 2.5


def check_in(database: Database, now: datetime, report: Report, host: str = "gpu-1") -> WorkerId:
    who = Introduction(WorkerId(new_id("wrk", now=now)), host, 1, 1, "0.1.0", "cuda", 1)
    with database.begin() as session:
        workers.check_in(session, who, report, now=now)
    return who.id


def test_workers_and_their_gpus_are_counted_once(database: Database) -> None:
    now = utc_now()
    gpu = {"index": 0, "name": "GPU", "memory_bytes": 80, "memory_used_bytes": 20}
    check_in(database, now, Report(None, [gpu]))
    check_in(database, now, Report(JobId("job_1"), [gpu]))
    check_in(database, now - 2 * LEASE, Report(None, [gpu]), host="gone")

    found = scraped(database)

    counts = {status: value(found, "mixsd_workers", status=status) for status in ("idle", "busy", "lost")}
    assert counts == {"idle": 1, "busy": 1, "lost": 1}
    assert value(found, "mixsd_gpu_memory_used_bytes", host="gpu-1", gpu="0") == 20
    assert value(found, "mixsd_gpu_memory_bytes", host="gpu-1", gpu="0") == 80
    assert not [labels for name, labels in found if ("host", "gone") in labels]


def test_a_database_that_is_away_is_said_and_requests_are_told_of_all_the_same() -> None:
    away = Database(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    measures = HttpMeasures()
    measures.begin()
    measures.end("GET", "/jobs", 200, 0.1)

    found = samples_of(measures.render([ServiceMeasures(away, lease=LEASE)]).decode())

    assert value(found, "mixsd_database_up") == 0
    counted = {"method": "GET", "route": "/jobs", "status_class": "2xx"}
    assert value(found, "mixsd_http_request_duration_seconds_count", **counted) == 1
    assert not [name for name, _ in found if name == "mixsd_jobs"]


def test_many_scrapes_read_the_database_once(database: Database) -> None:
    statements: list[str] = []
    seconds = iter([0.0, 0.0, KEPT / 2, KEPT, KEPT])
    measures = ServiceMeasures(database, lease=LEASE, clock=lambda: next(seconds))

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    try:
        for _ in range(2):
            list(measures.collect())
        once = len(statements)
        list(measures.collect())
    finally:
        event.remove(database.engine, "before_cursor_execute", note)

    assert once > 0
    assert len(statements) == 2 * once


ENDED = "SELECT status, count(*) FROM jobs WHERE finished_at IS NOT NULL GROUP BY status"
OPEN = "SELECT status, count(*) FROM jobs WHERE finished_at IS NULL GROUP BY status"
LAST_PHASES = "SELECT phase FROM job_phases WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 9"


def plan_of(database: Database, statement: str, *, without: str = "") -> str:
    with database.engine.connect() as connection:
        if database.is_sqlite:
            return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all())
        connection.exec_driver_sql("ANALYZE jobs")
        if without:
            connection.exec_driver_sql(f"SET LOCAL enable_{without} = off")
        return str(connection.exec_driver_sql(f"EXPLAIN {statement}").all())


def test_jobs_are_counted_by_indexes_however_many_have_ended(database: Database) -> None:
    fact_set = a_fact_set(database)
    template = {
        "project_id": "prj_default",
        "labels": {},
        "fact_set_id": fact_set.id,
        "base_model": "tiny",
        "method_type": "mixsd",
        "method": {},
        "training": {},
        "evaluation": {},
        "request_sha256": "0" * 64,
        "status": JobStatus.SUCCEEDED,
        "next_run_at": NOW,
        "created_at": NOW,
        "finished_at": NOW,
    }
    with database.begin() as session:
        session.execute(insert(Job), [{"id": f"job_{number}", **template} for number in range(3000)])
    plans = [plan_of(database, statement) for statement in (ENDED, OPEN)]
    plans.append(plan_of(database, LAST_PHASES, without="seqscan"))  # there are none

    for plan, name in zip(plans, ("finished", "unfinished", "job_phases_finished"), strict=True):
        assert name in plan
    assert value(scraped(database), "mixsd_jobs", status="succeeded") == 3000


# -- who may


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED})


@pytest.fixture
def keys(database: Database) -> Mapping[str, str]:
    return {
        "operator": a_key(database).secret,
        "reader": a_key(database, scopes=[Scope.READ]).secret,
        "team": a_key(database, "team").secret,
    }


def answers(
    database: Database,
    store: LocalStore,
    settings: Settings,
    mode: MetricsAccess,
    secret: str | None,
    address: str = "10.0.0.1",
) -> tuple[int, str | None]:
    chosen = settings.model_copy(update={"metrics": mode})
    api = build_app(database, store, ListeningDispatcher(), chosen)
    answer = a_client(api, secret, address=address).get("/metrics")
    is_problem = answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"] if is_problem else None


def test_metrics_take_an_operator_unless_others_are_let_in(
    database: Database, store: LocalStore, settings: Settings, keys: Mapping[str, str]
) -> None:
    def ask(mode: MetricsAccess, secret: str | None, address: str = "10.0.0.1") -> tuple[int, str | None]:
        return answers(database, store, settings, mode, secret, address)

    assert ask(MetricsAccess.KEY, keys["operator"]) == (200, None)
    assert ask(MetricsAccess.KEY, keys["reader"]) == (403, "missing_scope")
    assert ask(MetricsAccess.KEY, keys["team"]) == (403, "operator_only")
    assert ask(MetricsAccess.KEY, None, "127.0.0.1") == (401, "unauthenticated")
    assert ask(MetricsAccess.LOOPBACK, None, "127.0.0.1") == (200, None)
    assert ask(MetricsAccess.LOOPBACK, None) == (401, "unauthenticated")
    assert ask(MetricsAccess.LOOPBACK, keys["operator"]) == (200, None)
    assert ask(MetricsAccess.OPEN, None) == (200, None)
    assert ask(MetricsAccess.OFF, keys["operator"]) == (404, "metrics_off")


def test_an_open_door_for_metrics_is_none_for_anything_else(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    chosen = settings.model_copy(update={"metrics": MetricsAccess.OPEN})
    client = a_client(build_app(database, store, ListeningDispatcher(), chosen))

    for path in ("/metrics/", "/metricsx", "/workers", "/jobs"):
        assert client.get(path).status_code == 401, path
    assert client.post("/metrics").status_code == 401


def test_no_project_is_named(database: Database, api: FastAPI, keys: Mapping[str, str]) -> None:
    operator, team = a_client(api, keys["operator"]), a_client(api, keys["team"])
    team.get("/jobs/job_secret", params={"cursor": "hidden"})

    text = operator.get("/metrics").text

    assert 'route="/jobs/{job_id}"' in text
    for word in ("job_secret", "hidden", "prj_", "key_", "team"):
        assert word not in text


def test_labels_are_few_whatever_clients_send(api: FastAPI) -> None:
    client = TestClient(api, raise_server_exceptions=False)
    for number in range(5):
        client.request(f"VERB{number}", f"/nothing/{number}")
        client.get(f"/nothing/{number}")

    text = api.state.http_measures.render([]).decode()

    counted = [line for line in text.splitlines() if "duration_seconds_count{" in line]
    assert len(counted) == 2
    assert all('route="unmatched"' in line for line in counted)
    assert sum("other" in line for line in counted) == 1


SEVERAL = """
import sys
from app.web.measures import HttpMeasures
measures = HttpMeasures()
for _ in range(int(sys.argv[1])):
    measures.begin()
    measures.end("GET", "/jobs", 200, 0.01)
measures.close()
print(measures.render([]).decode())
"""


def test_processes_with_a_folder_in_common_are_counted_together(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    texts = [
        subprocess.run(
            [sys.executable, "-c", SEVERAL, count],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for count in ("2", "3")
    ]

    labels = {"method": "GET", "route": "/jobs", "status_class": "2xx"}
    counted = [
        value(samples_of(text), "mixsd_http_request_duration_seconds_count", **labels) for text in texts
    ]
    assert counted == [2, 5]


def test_one_of_several_processes_without_a_folder_does_not_count_for_itself() -> None:
    measures = HttpMeasures()
    measures.begin()
    measures.end("GET", "/jobs", 200, 0.1)
    measures.is_partial = True

    assert measures.render([]) == b""
