"""Pausing, resuming, retrying and changing jobs over HTTP, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, inspect, select

from app.db.engine import Database
from app.events.models import Event
from app.ids import CheckpointId, JobId, new_id
from app.jobs import leases
from app.jobs.leases import Claim, Failure
from app.jobs.models import Checkpoint, Job, JobAttempt, JobPhase, JobResult, Supervision
from app.jobs.repository import FARTHEST_PLACE
from app.jobs.states import OWNED, TERMINAL, JobStatus, Phase
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.app.published import a_published_job, another_project
from tests.factories import NOW, a_fact_set, a_job, the_job

LOST = Failure("system", "worker_lost", "the worker went silent", retryable=True)
HELD: dict[str, Any] = {"lease_owner": "me", "lease_expires_at": NOW, "heartbeat_at": NOW}
FAILED: dict[str, Any] = {"status": JobStatus.FAILED, "finished_at": NOW, "error_code": "worker_lost"}


def claimed(database: Database) -> Claim:
    with database.begin() as session:
        lease = timedelta(seconds=60)
        claim = leases.claim(session, queue="gpu", owner="h:1:b:u", version=9, now=NOW, lease=lease)
    assert claim is not None
    return claim


def released(database: Database, claim: Claim) -> None:
    with database.begin() as session:
        leases.release(session, claim.job_id, claim.fence, now=NOW)


def crashed(database: Database, claim: Claim) -> None:
    with database.begin() as session:
        leases.crash(session, claim.job_id, claim.fence, LOST, now=NOW, backoff=timedelta(0))


def worked_on(database: Database, job_id: JobId) -> None:
    """Have the job something of everything that attempts make."""
    phase = {"phase": Phase.GENERATING, "attempt": 1, "fence": 1, "done": 1, "total": 2, "unit": "facts"}
    with database.begin() as session:
        session.add(JobPhase(job_id=job_id, started_at=NOW, updated_at=NOW, input_sha256="i", **phase))
        session.add(
            Supervision(
                job_id=job_id, fact_key="river-0", generation=0, ord=0, verified=True, fence=1, body={}
            )
        )
        session.add(a_checkpoint(job_id, step=4))
        result = {
            "phase": Phase.TRAINING,
            "variant": 0,
            "name": "weights",
            "input_sha256": "i",
            "sha256": "s",
        }
        session.add(JobResult(job_id=job_id, created_at=NOW, **result))


def a_checkpoint(job_id: JobId, *, step: int) -> Checkpoint:
    return Checkpoint(
        id=CheckpointId(new_id("ckpt", now=NOW + timedelta(seconds=step))),
        job_id=job_id,
        phase=Phase.TRAINING,
        fence=1,
        step=step,
        input_sha256="i",
        uri="/srv/secret/place",
        manifest_sha256="0" * 64,
        bytes=100,
        created_at=NOW,
    )


def kinds(client: TestClient, job_id: str) -> list[str]:
    return [event["type"] for event in client.get(f"/jobs/{job_id}/events").json()["data"]]


def test_a_waiting_job_is_paused_at_once_and_resumed(
    client: TestClient, database: Database, dispatcher: ListeningDispatcher
) -> None:
    job_id = a_job(database, wait_reason="waiting_disk")

    paused = client.post(f"/jobs/{job_id}/pause")

    assert paused.status_code == 202
    assert (paused.json()["status"], paused.json()["terminal"]) == ("paused", False)
    assert (paused.json()["queue_position"], paused.json()["wait_reason"]) == (None, None)
    assert paused.json()["allowed_actions"] == ["cancel", "resume"]
    assert dispatcher.hints == []

    resumed = client.post(f"/jobs/{job_id}/resume")

    assert (resumed.status_code, resumed.json()["status"]) == (202, "queued")
    assert (resumed.json()["queue_position"], resumed.json()["attempt"]) == (1, 0)
    assert dispatcher.hints == ["gpu"]
    assert kinds(client, job_id) == ["job.paused", "job.resumed"]


def test_a_running_job_is_asked_to_pause_as_often_as_one_likes(
    client: TestClient, database: Database
) -> None:
    job_id = a_job(database)
    claim = claimed(database)

    answers = [client.post(f"/jobs/{job_id}/pause") for _ in range(2)]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(202, "pausing")] * 2
    assert answers[0].json()["allowed_actions"] == ["cancel"]
    released(database, claim)
    again = client.post(f"/jobs/{job_id}/pause")
    assert (again.status_code, again.json()["status"]) == (202, "paused")
    assert kinds(client, job_id) == ["job.started", "job.pausing", "job.paused"]


def test_a_resumed_job_goes_on_in_its_attempt(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    claim = claimed(database)
    client.post(f"/jobs/{job_id}/pause")
    released(database, claim)

    client.post(f"/jobs/{job_id}/resume")
    with database.begin() as session:
        again = leases.claim(
            session, queue="gpu", owner="o", version=9, now=database.now(session), lease=timedelta(1)
        )

    assert again is not None
    assert again.attempt == claim.attempt == 1
    (attempt,) = client.get(f"/jobs/{job_id}/attempts").json()["data"]
    assert (attempt["attempt"], attempt["ended_at"]) == (1, None)


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        (JobStatus.QUEUED, ["cancel", "pause"]),
        (JobStatus.RUNNING, ["cancel", "pause"]),
        (JobStatus.PAUSING, ["cancel"]),
        (JobStatus.PAUSED, ["cancel", "resume"]),
        (JobStatus.CANCELLING, []),
        (JobStatus.SUCCEEDED, ["delete"]),
        (JobStatus.FAILED, ["retry", "delete"]),
        (JobStatus.CANCELLED, ["retry", "delete"]),
    ],
)
def test_every_job_says_what_may_be_done_and_nothing_else_can(
    client: TestClient, database: Database, status: JobStatus, allowed: list[str]
) -> None:
    rest = HELD.copy() if status in OWNED else {}
    rest |= {"finished_at": NOW} if status in TERMINAL else {}
    rest |= {"error_code": "x"} if status is JobStatus.FAILED else {}
    job_id = a_job(database, status=status, **rest)
    harmless = {JobStatus.PAUSING: {"pause"}, JobStatus.PAUSED: {"pause"}, JobStatus.CANCELLING: {"cancel"}}

    assert client.get(f"/jobs/{job_id}").json()["allowed_actions"] == allowed
    for action in {"cancel", "pause", "resume", "retry"} - set(allowed) - harmless.get(status, set()):
        answer = client.post(f"/jobs/{job_id}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition"), action
        assert answer.json()["allowed_actions"] == allowed
    assert the_job(database, job_id).status is status
    assert kinds(client, job_id) == []


def test_a_failed_job_is_retried_as_a_new_attempt_with_what_it_has(
    client: TestClient, database: Database, dispatcher: ListeningDispatcher
) -> None:
    job_id = a_job(database, attempt=2, fence=7, crash_streak=3, micro_batch_override=2, **FAILED)
    worked_on(database, job_id)

    answer = client.post(f"/jobs/{job_id}/retry")

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["error"], answer.json()["finished_at"]) == (
        "queued",
        None,
        None,
    )
    assert [part["phase"] for part in answer.json()["progress"]] == ["generating"]
    assert dispatcher.hints == ["gpu"]
    job = the_job(database, job_id)
    assert (job.fence, job.attempt_limit, job.crash_streak, job.micro_batch_override) == (8, 22, 0, 2)
    assert len(client.get(f"/jobs/{job_id}/checkpoints").json()["data"]) == 1
    with database.read() as session:
        said = session.scalars(select(Event)).one()
        assert (said.type, said.data) == ("job.requeued", {"from": "checkpoint"})
        assert len(session.scalars(select(Supervision)).all()) == 1
    job.next_run_at = NOW
    with database.begin() as session:
        session.merge(job)
    assert claimed(database).attempt == 3


def test_a_retry_from_the_start_forgets_all_that_was_made(client: TestClient, database: Database) -> None:
    other = a_job(database, **FAILED)
    job_id = a_job(database, attempt=1, fence=1, micro_batch_override=2, base_revision="r1", **FAILED)
    for each in (job_id, other):
        worked_on(database, each)

    answer = client.post(f"/jobs/{job_id}/retry", json={"from": "start"})

    assert (answer.status_code, answer.json()["progress"]) == (202, [])
    with database.read() as session:
        for table in (Supervision, Checkpoint, JobResult, JobPhase):
            assert session.scalars(select(table.job_id)).all() == [other]
    job = the_job(database, job_id)
    assert (job.micro_batch_override, job.base_revision) == (None, "r1")
    assert client.get(f"/jobs/{job_id}/supervision").text == ""


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"from": "scratch"}, "/from", "unknown_value"),
        ({"from": None}, "/from", "unknown_value"),
        ({"start": "start"}, "/start", "unknown_field"),
    ],
)
def test_a_retry_from_anywhere_else_is_refused(
    client: TestClient, database: Database, body: dict[str, Any], pointer: str, code: str
) -> None:
    job_id = a_job(database, **FAILED)

    answer = client.post(f"/jobs/{job_id}/retry", json=body)

    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]
    assert the_job(database, job_id).status is JobStatus.FAILED


def test_a_cancelled_job_can_be_retried_and_has_no_attempt_left_open(
    client: TestClient, database: Database
) -> None:
    job_id = a_job(database)
    claim = claimed(database)
    client.post(f"/jobs/{job_id}/pause")
    released(database, claim)

    client.post(f"/jobs/{job_id}/cancel")

    (attempt,) = client.get(f"/jobs/{job_id}/attempts").json()["data"]
    assert (attempt["outcome"], attempt["ended_at"] is None) == ("cancelled", False)
    assert client.post(f"/jobs/{job_id}/retry").json()["status"] == "queued"


def test_a_cancel_does_not_rewrite_how_a_lost_attempt_ended(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    crashed(database, claimed(database))

    client.post(f"/jobs/{job_id}/cancel")

    (attempt,) = client.get(f"/jobs/{job_id}/attempts").json()["data"]
    assert attempt["outcome"] == "lost"


def test_attempts_come_in_order_and_in_pages(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    for _ in range(2):
        crashed(database, claimed(database))
    claimed(database)
    url = f"/jobs/{job_id}/attempts"

    first = client.get(url, params={"limit": 2}).json()
    rest = client.get(url, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    rows = first["data"] + rest["data"]
    assert [(row["attempt"], row["outcome"]) for row in rows] == [(1, "lost"), (2, "lost"), (3, None)]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert {row["worker"] for row in rows} == {"h"}
    assert client.get(url, params={"cursor": "eA"}).json()["code"] == "bad_cursor"


def test_checkpoints_come_newest_first_and_in_pages(client: TestClient, database: Database) -> None:
    job_id, other = a_job(database), a_job(database)
    with database.begin() as session:
        session.add_all([a_checkpoint(job_id, step=step) for step in (4, 8, 12)])
        session.add(a_checkpoint(other, step=5))
    url = f"/jobs/{job_id}/checkpoints"

    first = client.get(url, params={"limit": 2}).json()
    rest = client.get(url, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [row["step"] for row in first["data"] + rest["data"]] == [12, 8, 4]
    assert first["data"][0].keys() == {
        "id",
        "phase",
        "variant",
        "step",
        "bytes",
        "manifest_sha256",
        "created_at",
    }
    oldest = client.get(url, params={"order": "asc", "limit": 1}).json()["data"]
    assert [row["step"] for row in oldest] == [4]


def test_another_projects_job_cannot_be_touched(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store, project_id=another_project(database))
    url = f"/jobs/{published.job_id}"

    answers = [client.post(f"{url}/{action}") for action in ("pause", "resume", "retry")]
    answers += [client.get(f"{url}/{part}") for part in ("attempts", "checkpoints")]
    answers += [client.patch(url, json=body) for body in ({}, {"name": "mine"}, {"priority": 5})]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (404, "job_not_found")
    ] * len(answers)
    assert the_job(database, published.job_id).name is None


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.PAUSED])
def test_the_priority_of_a_waiting_job_decides_its_place(
    client: TestClient, database: Database, status: JobStatus
) -> None:
    fact_set = a_fact_set(database)
    first = a_job(database, fact_set.id, next_run_at=NOW - timedelta(seconds=1))
    job_id = a_job(database, fact_set.id, status=status)

    answer = client.patch(f"/jobs/{job_id}", json={"priority": 10})

    assert (answer.status_code, answer.json()["priority"]) == (200, 10)
    if status is JobStatus.QUEUED:
        assert answer.json()["queue_position"] == 1
        assert client.get(f"/jobs/{first}").json()["queue_position"] == 2
        assert claimed(database).job_id == job_id


def test_the_priority_of_a_running_job_is_fixed_and_its_name_is_not(
    client: TestClient, database: Database
) -> None:
    job_id = a_job(database, name="first", labels={"team": "rivers"})
    claimed(database)
    url = f"/jobs/{job_id}"

    refused = client.patch(url, json={"priority": 10, "name": "second"})
    changed = client.patch(url, json={"priority": 0, "metadata": {"ticket": "7"}})

    assert (refused.status_code, refused.json()["code"]) == (409, "priority_fixed")
    assert refused.json()["allowed_actions"] == ["cancel", "pause"]
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"ticket": "7"})
    assert (changed.json()["name"], changed.json()["priority"]) == ("first", 0)
    assert client.patch(url, json={"name": None}).json()["name"] is None
    assert client.patch(url, json={}).json() == client.get(url).json()


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"priority": 101}, "/priority", "out_of_range"),
        ({"priority": None}, "/priority", "wrong_type"),
        ({"priority": "1"}, "/priority", "wrong_type"),
        ({"name": ""}, "/name", "too_short"),
        ({"metadata": {"a": 1}}, "/metadata/a", "wrong_type"),
        ({"metadata": None}, "/metadata", "wrong_type"),
        ({"base_model": "tiny"}, "/base_model", "unknown_field"),
    ],
)
def test_a_bad_change_is_refused_with_a_pointer(
    client: TestClient, database: Database, body: dict[str, Any], pointer: str, code: str
) -> None:
    answer = client.patch(f"/jobs/{a_job(database)}", json=body)

    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]


@pytest.mark.parametrize("priority", [9, 5, 0, -1])
def test_a_new_job_is_told_the_place_that_it_is_listed_with(
    client: TestClient, database: Database, priority: int
) -> None:
    fact_set = a_fact_set(database)
    for changes in ({}, {"priority": 5}, {"priority": 5, "next_run_at": NOW + timedelta(days=36500)}):
        a_job(database, fact_set.id, **changes)
    request = {"base_model": "owner/model", "fact_set_id": fact_set.id, "method": {"type": "sft"}}

    made = client.post("/jobs", json=request | {"priority": priority}).json()

    assert made["queue_position"] == {9: 1, 5: 2, 0: 3, -1: 3}[priority]
    assert client.get(f"/jobs/{made['id']}").json() == made


def test_places_in_the_queue_are_those_of_claims(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)

    def waiting(**changes: Any) -> JobId:
        return a_job(database, fact_set.id, **changes)

    late = waiting()
    early = waiting(next_run_at=NOW - timedelta(seconds=1))
    urgent = waiting(priority=5)
    resting = waiting(priority=9, next_run_at=NOW + timedelta(days=36500), wait_reason="waiting_disk")
    paused = waiting(priority=9)
    waiting(queue="other", priority=9)
    client.post(f"/jobs/{paused}/pause")

    listed = {job["id"]: job["queue_position"] for job in client.get("/jobs").json()["data"]}

    expected = {urgent: 1, early: 2, late: 3, resting: 4, paused: None}
    assert {job_id: listed[job_id] for job_id in expected} == expected
    assert {job_id: client.get(f"/jobs/{job_id}").json()["queue_position"] for job_id in expected} == expected
    assert [claimed(database).job_id for _ in range(3)] == [urgent, early, late]
    with database.read() as session:
        assert len(session.scalars(select(JobAttempt)).all()) == 3


def test_places_far_behind_are_not_counted(client: TestClient, database: Database) -> None:
    last = a_job(database)
    with database.begin() as session:
        first = session.scalars(select(Job)).one()
        values = {attribute.key: getattr(first, attribute.key) for attribute in inspect(Job).column_attrs}
        more = [values | {"id": f"job_{n:032x}", "priority": 1} for n in range(FARTHEST_PLACE - 1)]
        session.execute(insert(Job), more)

    assert client.get(f"/jobs/{last}").json()["queue_position"] == FARTHEST_PLACE
    client.patch(f"/jobs/{last}", json={"priority": 2})
    assert client.get(f"/jobs/{last}").json()["queue_position"] == 1
    assert client.get(f"/jobs/{more[-1]['id']}").json()["queue_position"] == FARTHEST_PLACE
    a_job(database, priority=3)
    assert client.get(f"/jobs/{last}").json()["queue_position"] == 2
    assert client.get(f"/jobs/{more[-1]['id']}").json()["queue_position"] is None
