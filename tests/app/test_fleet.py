"""`GET /queue` and `GET /workers`: what is there, in order, and for whose eyes."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.clock import utc_now
from app.db.engine import Database
from app.fleet.service import expected_starts
from app.ids import JobId, ProjectId, WorkerId, new_id
from app.jobs import workers
from app.jobs.states import JobStatus
from app.jobs.workers import FORGET_AFTER, Introduction, Report
from app.settings import AuthMode, Settings
from tests.app.keys import a_client, a_key
from tests.factories import NOW, a_fact_set, a_job

MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": AuthMode.REQUIRED, "quota_running_jobs": 3})


@pytest.fixture
def operator(api: FastAPI, database: Database) -> TestClient:
    return a_client(api, a_key(database).secret)


class Team:
    """A client of a project of its own, and hands to make jobs for it."""

    def __init__(self, api: FastAPI, database: Database, name: str) -> None:
        key = a_key(database, name)
        self.project_id = ProjectId(key.project_id)
        self._client = a_client(api, key.secret)
        self._database = database
        self._fact_set = a_fact_set(database, project_id=self.project_id).id

    def job(self, status: JobStatus = JobStatus.QUEUED, **changes: Any) -> JobId:
        owned = {"lease_owner": "w", "lease_expires_at": NOW, "heartbeat_at": NOW, "started_at": NOW}
        more = owned if status is JobStatus.RUNNING else {}
        values = {"project_id": self.project_id, "status": status, **more, **changes}
        return a_job(self._database, self._fact_set, **values)

    def read(self, path: str, **query: Any) -> Mapping[str, Any]:
        answer = self._client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found: Mapping[str, Any] = answer.json()
        return found


@pytest.fixture
def ours(api: FastAPI, database: Database) -> Team:
    return Team(api, database, "ours")


@pytest.fixture
def theirs(api: FastAPI, database: Database) -> Team:
    return Team(api, database, "theirs")


def a_worker(
    database: Database, *, job_id: JobId | None = None, silent: timedelta = timedelta(0)
) -> WorkerId:
    now = utc_now() - silent
    gpu = {"index": 3, "name": "GPU", "memory_bytes": 80, "memory_used_bytes": 20}
    who = Introduction(WorkerId(new_id("wrk", now=now)), "gpu-1", 4711, 1, "0.1.0", "cuda", 1)
    with database.begin() as session:
        workers.check_in(session, who, Report(job_id, [gpu]), now=now)
    return who.id


def test_ones_own_jobs_are_listed_in_the_order_in_which_they_are_begun(ours: Team, theirs: Team) -> None:
    later = ours.job(next_run_at=utc_now() + timedelta(hours=1), wait_reason="waiting_disk")
    plain = ours.job()
    other = theirs.job(priority=5)
    urgent = ours.job(priority=9, name="urgent")
    running = ours.job(JobStatus.RUNNING)
    ours.job(JobStatus.PAUSED)

    queue = ours.read("/queue")

    assert [job["id"] for job in queue["waiting_jobs"]] == [urgent, plain, later]
    assert [job["position"] for job in queue["waiting_jobs"]] == [1, 3, 4]
    assert [job["name"] for job in queue["waiting_jobs"]] == ["urgent", None, None]
    assert queue["waiting_jobs"][2]["wait_reason"] == "waiting_disk"
    assert [job["id"] for job in queue["running_jobs"]] == [running]
    assert (queue["queued"], queue["paused"], queue["running"]) == (3, 1, 1)
    assert queue["projects"] is None
    assert other not in str(queue)


def test_lists_are_no_longer_than_asked_for_and_counts_are_whole(ours: Team) -> None:
    for _ in range(3):
        ours.job()
        ours.job(JobStatus.RUNNING)

    queue = ours.read("/queue", limit=2)

    assert (len(queue["waiting_jobs"]), queue["queued"]) == (2, 3)
    assert (len(queue["running_jobs"]), queue["running"]) == (2, 3)


def test_an_operator_sees_how_many_jobs_each_project_has(
    operator: TestClient, ours: Team, theirs: Team
) -> None:
    ours.job()
    theirs.job(JobStatus.RUNNING)
    theirs.job(JobStatus.PAUSED)

    projects = operator.get("/queue").json()["projects"]

    assert {p["project_id"]: (p["queued"], p["paused"], p["running"]) for p in projects} == {
        ours.project_id: (1, 0, 0),
        theirs.project_id: (0, 1, 1),
    }


def test_a_start_is_expected_from_what_jobs_took(database: Database, ours: Team) -> None:
    for minutes in (1, 10, 90):
        ours.job(JobStatus.SUCCEEDED, started_at=NOW, finished_at=NOW + minutes * MINUTE)
    for _ in range(3):
        ours.job()

    without_workers = ours.read("/queue")["waiting_jobs"]
    a_worker(database)
    before = utc_now()
    jobs = ours.read("/queue")["waiting_jobs"]

    assert [job["expected_start_at"] for job in without_workers] == [None] * 3
    starts = [job["expected_start_at"] for job in jobs]
    assert starts == sorted(starts)
    assert starts[0] >= before.isoformat()[:19]
    assert starts[2] >= (before + 20 * MINUTE).isoformat()[:19]
    assert starts[2] < (before + 40 * MINUTE).isoformat()[:19]


def test_nothing_is_expected_where_a_quota_is_in_the_way(database: Database, ours: Team) -> None:
    ours.job(JobStatus.SUCCEEDED, started_at=NOW, finished_at=NOW + MINUTE)
    a_worker(database)
    ours.job()
    free = ours.read("/queue")["waiting_jobs"][0]["expected_start_at"]
    for _ in range(3):
        ours.job(JobStatus.RUNNING)

    assert free is not None
    assert ours.read("/queue")["waiting_jobs"][0]["expected_start_at"] is None


def test_starts_fill_workers_as_they_become_free() -> None:
    ends = [NOW + 3 * MINUTE]

    starts = expected_starts(4, idle=1, ends=ends, usual=10 * MINUTE, now=NOW)

    assert [(start - NOW) / MINUTE for start in starts] == [0, 3, 10, 13]
    assert expected_starts(3, idle=0, ends=[], usual=MINUTE, now=NOW) == []


def test_workers_are_shown_with_what_is_the_readers_business(
    operator: TestClient, database: Database, ours: Team, theirs: Team
) -> None:
    mine, other = ours.job(JobStatus.RUNNING), theirs.job(JobStatus.RUNNING)
    lost = a_worker(database, silent=timedelta(minutes=2))
    idle, busy, elsewhere = (a_worker(database, job_id=job) for job in (None, mine, other))

    shown = {row["id"]: row for row in ours.read("/workers")["data"]}
    every = {row["id"]: row for row in operator.get("/workers").json()["data"]}

    assert {key: row["status"] for key, row in shown.items()} == {
        lost: "lost",
        idle: "idle",
        busy: "busy",
        elsewhere: "busy",
    }
    assert [shown[key]["job_id"] for key in (idle, busy, elsewhere)] == [None, mine, None]
    assert {(row["host"], row["pid"]) for row in shown.values()} == {(None, None)}
    assert every[elsewhere]["job_id"] == other
    assert (every[idle]["host"], every[idle]["pid"]) == ("gpu-1", 4711)
    assert shown[idle]["gpus"] == [{"index": 3, "name": "GPU", "memory_bytes": 80, "memory_used_bytes": 20}]
    assert ours.read("/queue")["workers"] == {"idle": 1, "busy": 2, "lost": 1}


def test_workers_come_in_pages(database: Database, ours: Team) -> None:
    ids = [a_worker(database, silent=timedelta(seconds=10 - n)) for n in range(3)]

    first = ours.read("/workers", limit=2, order="asc")
    second = ours.read("/workers", limit=2, order="asc", cursor=first["next_cursor"])

    assert [row["id"] for row in first["data"] + second["data"]] == ids
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_worker_is_forgotten_when_it_leaves_or_was_lost_for_long(database: Database, ours: Team) -> None:
    leaves, stays = a_worker(database), a_worker(database)
    lost = a_worker(database, silent=timedelta(minutes=5))
    a_worker(database, silent=FORGET_AFTER + timedelta(minutes=5))

    with database.begin() as session:
        workers.check_out(session, leaves)
        workers.forget_lost(session, now=utc_now(), lease=timedelta(seconds=60))

    assert {row["id"] for row in ours.read("/workers")["data"]} == {stays, lost}
