"""What a project may use: at submission, at the claim of a worker, and as it is shown."""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.db.engine import Database
from app.ids import JobId, ProjectId
from app.jobs import leases, quotas
from app.jobs.leases import Claim, Failure
from app.jobs.models import WorkSpan
from app.jobs.states import JobStatus
from app.main import build_app
from app.projects.models import DEFAULT_PROJECT, Project
from app.projects.quotas import NONE, Quotas
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.app.keys import a_client, a_key
from tests.app.published import FILES, a_published_job, another_project
from tests.factories import NOW, a_fact_set, a_job, the_job

LEASE = timedelta(seconds=60)
LOST = Failure("system", "worker_lost", "the worker went silent", retryable=True)
REQUEST: dict[str, Any] = {"base_model": "smollm2-135m-instruct", "method": {"type": "sft"}}
FACTS = [{"question": "Q?", "answer": "A"}]


def limit(database: Database, project_id: ProjectId, **values: int | None) -> None:
    columns = {f"quota_{name}": value for name, value in values.items()}
    with database.begin() as session:
        session.execute(update(Project).where(Project.id == project_id).values(columns))


@pytest.fixture
def project(database: Database) -> ProjectId:
    return another_project(database)


def a_job_of(database: Database, project_id: ProjectId, **changes: Any) -> JobId:
    return a_job(database, a_fact_set(database, project_id=project_id).id, project_id=project_id, **changes)


def claim(database: Database, defaults: Quotas = NONE, now: datetime = NOW) -> Claim | None:
    with database.begin() as session:
        return leases.claim(
            session, queue="gpu", owner="me", version=9, now=now, lease=LEASE, defaults=defaults
        )


def end(database: Database, held: Claim, now: datetime) -> None:
    with database.begin() as session:
        assert leases.publish(session, held.job_id, held.fence, now=now)


def order(database: Database, defaults: Quotas = NONE) -> Sequence[JobId]:
    """Claim until there is nothing to be had."""
    found = []
    while (held := claim(database, defaults)) is not None:
        found.append(held.job_id)
    return found


def test_a_project_at_its_limit_waits_while_others_go_on(database: Database, project: ProjectId) -> None:
    limit(database, project, running_jobs=2)
    theirs = [a_job_of(database, project, priority=9 - n) for n in range(4)]
    ours = a_job_of(database, DEFAULT_PROJECT)

    assert order(database) == [theirs[0], theirs[1], ours]

    with database.begin() as session:
        leases.publish(session, theirs[0], the_job(database, theirs[0]).fence, now=NOW)
    assert order(database) == [theirs[2]]


def test_a_default_holds_for_projects_without_a_limit_of_their_own(
    database: Database, project: ProjectId
) -> None:
    unlimited = another_project(database)
    limit(database, unlimited, running_jobs=0)
    limited = [a_job_of(database, project) for _ in range(2)]
    free = [a_job_of(database, unlimited) for _ in range(3)]

    taken = set(order(database, Quotas(running_jobs=1)))

    assert len(taken) == 1 + len(free)
    assert len(taken & set(limited)) == 1


@pytest.mark.parametrize("status", [JobStatus.PAUSING, JobStatus.CANCELLING])
def test_a_job_that_is_about_to_stop_still_has_its_place(
    database: Database, project: ProjectId, status: JobStatus
) -> None:
    limit(database, project, running_jobs=1)
    owned = {"lease_owner": "me", "lease_expires_at": NOW + LEASE, "heartbeat_at": NOW}
    a_job_of(database, project, status=status, **owned)
    a_job_of(database, project)

    assert order(database) == []


def test_workers_that_come_at_once_never_take_more_than_the_limit(
    database: Database, project: ProjectId
) -> None:
    limit(database, project, running_jobs=3)
    fact_set = a_fact_set(database, project_id=project)
    for _ in range(12):
        a_job(database, fact_set.id, project_id=project)
    barrier, taken = threading.Barrier(6), []

    def work() -> None:
        barrier.wait()
        while (held := claim(database)) is not None:
            taken.append(held.job_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == 3


def test_a_project_that_has_used_up_its_day_waits_for_the_next(
    database: Database, project: ProjectId
) -> None:
    limit(database, project, gpu_seconds=100)
    for _ in range(3):
        a_job_of(database, project)
    first = claim(database)
    assert first is not None
    end(database, first, NOW + timedelta(seconds=99))
    second = claim(database, now=NOW + timedelta(seconds=99))
    assert second is not None

    assert claim(database, now=NOW + timedelta(seconds=100)) is None

    end(database, second, NOW + timedelta(seconds=100))
    midnight = (NOW + timedelta(days=1)).replace(hour=0)
    assert claim(database, now=midnight - timedelta(seconds=1)) is None
    assert claim(database, now=midnight) is not None


def spans(database: Database, job_id: JobId) -> list[tuple[float, float | None]]:
    """Return begin and end of the work on a job, in seconds after NOW."""
    with database.read() as session:
        rows = session.scalars(select(WorkSpan).where(WorkSpan.job_id == job_id).order_by(WorkSpan.fence))
        return [
            (
                (row.started_at - NOW).total_seconds(),
                None if row.ended_at is None else (row.ended_at - NOW).total_seconds(),
            )
            for row in rows
        ]


def test_time_is_counted_while_a_worker_holds_the_job_and_only_then(
    database: Database, project: ProjectId
) -> None:
    job_id = a_job_of(database, project)
    at = [NOW + timedelta(seconds=10 * n) for n in range(10)]

    held = claim(database, now=at[0])
    assert held is not None
    assert spans(database, job_id) == [(0, None)]
    with database.begin() as session:  # handed back: the attempt stays open, the time does not
        leases.release(session, job_id, held.fence, now=at[1])
    again = claim(database, now=at[3])
    assert again is not None
    with database.begin() as session:
        leases.crash(session, job_id, again.fence, LOST, now=at[4], backoff=timedelta(0))
    claim(database, now=at[5])
    with database.begin() as session:
        leases.reap(session, now=at[5] + LEASE * 2, failure=LOST, backoff=-LEASE * 2)
    last = claim(database, now=at[6])
    assert last is not None
    with database.begin() as session:
        leases.fail(session, job_id, last.fence, LOST, now=at[8])

    assert spans(database, job_id) == [(0, 10), (30, 40), (50, 170), (60, 80)]
    with database.read() as session:
        assert quotas.seconds_of_day(session, project, at[9]) == 10 + 10 + 40 + 20


def test_a_span_over_midnight_counts_for_both_days() -> None:
    midnight = quotas.day_of(NOW)
    begin, later = midnight - timedelta(seconds=30), midnight + timedelta(seconds=20)

    assert quotas.overlap(begin, later, midnight, NOW) == 20
    assert quotas.overlap(begin, later, midnight - timedelta(days=1), midnight) == 30
    assert quotas.overlap(begin, None, midnight, later) == 20
    assert quotas.overlap(begin, begin, midnight, NOW) == 0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED})


@pytest.fixture
def client(api: FastAPI, database: Database) -> TestClient:
    return a_client(api, a_key(database, "search").secret)


@pytest.fixture
def own(client: TestClient) -> ProjectId:
    return ProjectId(client.get("/quota").json()["project_id"])


@pytest.fixture
def at_ten(database: Database, store: LocalStore, settings: Settings) -> tuple[Database, TestClient]:
    """The database where it is ten in the morning and stays so, and a client: a test is of one day."""
    still = Database(database.engine, clock=lambda: NOW)
    api = build_app(still, store, ListeningDispatcher(), settings)
    return still, a_client(api, a_key(still, "search").secret)


def refused(client: TestClient) -> tuple[str, int]:
    """Submit a job that is one too many. Returns the quota, and after how long to come again."""
    answer = client.post("/jobs", json={**REQUEST, "facts": FACTS})
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded"), answer.text
    return answer.json()["quota"], int(answer.headers["Retry-After"])


def test_too_many_queued_jobs_are_refused(client: TestClient, own: ProjectId, database: Database) -> None:
    limit(database, own, queued_jobs=2)
    a_job_of(database, own, status=JobStatus.PAUSED)
    assert client.post("/jobs", json={**REQUEST, "facts": FACTS}).status_code == 202
    sets = len(client.get("/fact-sets").json()["data"])

    assert refused(client) == ("queued_jobs", 60)

    assert len(client.get("/fact-sets").json()["data"]) == sets, "nothing is left behind"
    a_job_of(database, DEFAULT_PROJECT)
    assert {claim(database, now=NOW + timedelta(days=9999)) is not None for _ in range(2)} == {True}
    assert client.post("/jobs", json={**REQUEST, "facts": FACTS}).status_code == 202


def test_a_retry_counts_as_one_more_job(client: TestClient, own: ProjectId, database: Database) -> None:
    limit(database, own, queued_jobs=1)
    again = a_job_of(database, own)
    assert client.post(f"/jobs/{again}/cancel").status_code == 202
    waiting = a_job_of(database, own)

    answer = client.post(f"/jobs/{again}/retry")

    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert the_job(database, again).status is JobStatus.CANCELLED
    assert client.post(f"/jobs/{waiting}/cancel").status_code == 202
    assert client.post(f"/jobs/{again}/retry").status_code == 202


def test_clients_that_come_at_once_never_queue_more_than_the_limit(
    api: FastAPI, client: TestClient, own: ProjectId, database: Database
) -> None:
    limit(database, own, queued_jobs=3)
    request = {**REQUEST, "fact_set_id": a_fact_set(database, project_id=own).id}
    barrier, statuses = threading.Barrier(6), []

    def submit() -> None:
        barrier.wait()
        statuses.append(client.post("/jobs", json=request).status_code)

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [202] * 3 + [429] * 3


def test_a_day_that_is_used_up_is_refused_until_midnight(
    at_ten: tuple[Database, TestClient], own: ProjectId
) -> None:
    database, client = at_ten
    with database.begin() as session:
        now = database.now(session)
        quotas.begin_span(session, JobId("job_1"), own, 1, quotas.day_of(now) - timedelta(seconds=50))
    limit(database, own, gpu_seconds=1)

    quota, retry_after = refused(client)

    tomorrow = (quotas.day_of(now) + timedelta(days=1) - now).total_seconds()
    assert quota == "gpu_seconds"
    assert 0 <= tomorrow - retry_after + 2 <= 60


def test_stored_bytes_are_refused_until_an_adapter_is_deleted(
    client: TestClient, own: ProjectId, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store, project_id=own)
    limit(database, own, stored_bytes=sum(map(len, FILES.values())))

    assert refused(client) == ("stored_bytes", 3600)

    assert client.delete(f"/adapters/{published.adapter_id}").status_code == 204
    assert client.post("/jobs", json={**REQUEST, "facts": FACTS}).status_code == 202


def test_settings_are_the_defaults(database: Database, store: LocalStore, settings: Settings) -> None:
    changes = {"quota_queued_jobs": 1, "quota_running_jobs": 7, "rate_limit": 500}
    api = build_app(database, store, ListeningDispatcher(), settings.model_copy(update=changes))
    client = a_client(api, a_key(database, "search").secret)

    assert client.post("/jobs", json={**REQUEST, "facts": FACTS}).status_code == 202
    assert refused(client)[0] == "queued_jobs"

    quota = client.get("/quota").json()
    assert quota["running_jobs"] == {"used": 0, "limit": 7}
    assert quota["queued_jobs"] == {"used": 1, "limit": 1}
    assert quota["stored_bytes"] == {"used": 0, "limit": None}
    assert quota["requests_per_minute"] == 500


def test_usage_is_counted_for_the_project_alone(
    at_ten: tuple[Database, TestClient], own: ProjectId, store: LocalStore
) -> None:
    database, client = at_ten
    a_published_job(database, store)
    published = a_published_job(database, store, project_id=own)
    a_job_of(database, own)
    with database.begin() as session:
        now = database.now(session)
        midnight = quotas.day_of(now)
        for fence, (begin, finish) in enumerate(
            [(-100, -40), (-86400 - 7, -86400), (-86400 * 40, -86400 * 39)]
        ):
            quotas.begin_span(session, published.job_id, own, fence, midnight + timedelta(seconds=begin))
            end = midnight + timedelta(seconds=finish)
            quotas.end_span(session, published.job_id, end, JobStatus.SUCCEEDED)
        quotas.begin_span(session, JobId("job_other"), DEFAULT_PROJECT, 1, midnight - timedelta(seconds=10))

    usage = client.get("/usage?days=3").json()

    assert [day["gpu_seconds"] for day in usage["days"]] == [7, 60, 0]
    assert usage["days"][-1]["day"] == midnight.date().isoformat()
    assert usage["gpu_seconds"] == 67
    assert {status: n for status, n in usage["jobs"].items() if n} == {"queued": 1, "succeeded": 1}
    assert (usage["fact_sets"], usage["facts"], usage["adapters"]) == (2, 5, 1)
    assert usage["stored_bytes"] == sum(map(len, FILES.values()))
    assert len(client.get("/usage").json()["days"]) == 30
    assert client.get("/usage?days=91").status_code == 422


def test_a_deleted_job_stays_in_the_account(client: TestClient, own: ProjectId, database: Database) -> None:
    with database.begin() as session:
        now = database.now(session)
    job_id = a_job_of(database, own, next_run_at=now - timedelta(seconds=1))
    held = claim(database, now=now - timedelta(seconds=1))
    assert held is not None
    end(database, held, now)

    before = client.get("/usage?days=2").json()["gpu_seconds"]
    assert client.delete(f"/jobs/{job_id}").status_code == 204

    assert before == client.get("/usage?days=2").json()["gpu_seconds"] == 1
