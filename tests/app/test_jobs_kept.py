"""Jobs that are there: in lists and alone, cancelled, deleted, and told about."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.db.engine import Database
from app.events import repository as events
from app.events.repository import NewEvent
from app.jobs.models import Supervision
from app.jobs.states import TERMINAL, JobStatus
from app.storage import LocalStore
from tests.app.published import a_published_job, another_project
from tests.factories import NOW, a_fact_set, a_job, the_job

HELD: dict[str, Any] = {"lease_owner": "me", "lease_expires_at": NOW, "heartbeat_at": NOW}


def test_jobs_come_in_pages_by_age(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    ids = [a_job(database, fact_set.id) for _ in range(5)]

    for order, expected in (("desc", sorted(ids, reverse=True)), ("asc", sorted(ids))):
        query = {"limit": "2", "order": order}
        pages = [client.get("/jobs", params=query).json()]
        while pages[-1]["has_more"]:
            cursor = pages[-1]["next_cursor"]
            pages.append(client.get("/jobs", params=query | {"cursor": cursor}).json())

        assert [len(page["data"]) for page in pages] == [2, 2, 1]
        assert [job["id"] for page in pages for job in page["data"]] == expected


def test_jobs_can_be_filtered(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    waiting = a_job(database, fact_set.id)
    a_job(database, status=JobStatus.CANCELLED, finished_at=NOW)

    by_status = client.get("/jobs", params={"status": "queued"}).json()["data"]
    by_fact_set = client.get("/jobs", params={"fact_set_id": fact_set.id}).json()["data"]

    assert [job["id"] for job in by_status] == [job["id"] for job in by_fact_set] == [waiting]
    assert client.get("/jobs", params={"status": "magic"}).json()["errors"][0]["code"] == "unknown_value"


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_limit_has_bounds(client: TestClient, limit: str) -> None:
    assert client.get("/jobs", params={"limit": limit}).status_code == 422


@pytest.mark.parametrize("path", ["/jobs", "/fact-sets", "/adapters"])
@pytest.mark.parametrize("cursor", ["x", "%%%", "am9iXzE", "Ü"])
def test_a_bad_cursor_is_refused(client: TestClient, path: str, cursor: str) -> None:
    answer = client.get(path, params={"cursor": cursor})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


def test_a_waiting_job_is_cancelled_at_once(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    answer = client.post(f"/jobs/{job_id}/cancel")

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["terminal"]) == ("cancelled", True)
    assert answer.json()["allowed_actions"] == ["retry", "delete"]


def test_a_running_job_is_asked_to_stop_as_often_as_one_likes(client: TestClient, database: Database) -> None:
    job_id = a_job(database, status=JobStatus.RUNNING, **HELD)

    answers = [client.post(f"/jobs/{job_id}/cancel") for _ in range(2)]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(202, "cancelling")] * 2


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_job_that_has_ended_cannot_be_cancelled(
    client: TestClient, database: Database, status: JobStatus
) -> None:
    failed: dict[str, Any] = (
        {"error_code": "x", "error_category": "user"} if status is JobStatus.FAILED else {}
    )
    job_id = a_job(database, status=status, finished_at=NOW, **failed)

    answer = client.post(f"/jobs/{job_id}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert "cancel" not in answer.json()["allowed_actions"]
    assert the_job(database, job_id).status is status


def test_a_job_that_has_not_ended_cannot_be_deleted(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    answer = client.delete(f"/jobs/{job_id}")

    assert (answer.status_code, answer.json()["allowed_actions"]) == (409, ["cancel", "pause"])
    assert client.get(f"/jobs/{job_id}").status_code == 200


def test_deleting_a_job_keeps_its_adapter(client: TestClient, database: Database, store: LocalStore) -> None:
    published = a_published_job(database, store)

    assert client.delete(f"/jobs/{published.job_id}").status_code == 204

    assert client.get(f"/jobs/{published.job_id}").status_code == 404
    assert client.delete(f"/jobs/{published.job_id}").status_code == 404
    assert client.get(f"/adapters/{published.adapter_id}").json()["job_id"] is None
    with database.read() as session:
        assert session.scalars(select(Supervision)).all() == []


def test_a_job_shows_progress_adapter_and_error(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)
    failed = a_job(
        database,
        status=JobStatus.FAILED,
        finished_at=NOW,
        error_code="worker_lost",
        error_category="system",
        error_message="the worker went silent",
        error_retryable=True,
    )

    job = client.get(f"/jobs/{published.job_id}").json()

    assert job["adapter_id"] == published.adapter_id
    assert job["queue_position"] is None
    assert [part["phase"] for part in job["progress"]] == ["generating", "training"]
    assert job["progress"][0] == {
        "phase": "generating",
        "done": 3,
        "total": 3,
        "unit": "fact",
        "rate": 0.5,
        "eta_seconds": 0.0,
        "finished": True,
    }
    assert client.get(f"/jobs/{failed}").json()["error"] == {
        "category": "system",
        "code": "worker_lost",
        "message": "the worker went silent",
        "retryable": True,
    }


def test_events_come_in_order_from_a_cursor_on(client: TestClient, database: Database) -> None:
    job_id = a_job(database, event_seq=5)
    said = [NewEvent("job.warning", f"warning {n}", data={"n": n}) for n in range(5)]
    with database.begin() as session:
        events.append(session, job_id, said, last_seq=5, attempt=1, now=NOW)
    url = f"/jobs/{job_id}/events"

    first = client.get(url, params={"limit": 3}).json()
    rest = client.get(url, params={"limit": 3, "cursor": first["next_cursor"]}).json()

    assert [event["seq"] for event in first["data"] + rest["data"]] == [1, 2, 3, 4, 5]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert first["data"][0]["data"] == {"n": 0}
    assert client.get(url, params={"cursor": "eA"}).json()["code"] == "bad_cursor"


def test_another_projects_job_does_not_exist(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store, project_id=another_project(database))
    url = f"/jobs/{published.job_id}"

    for path in ("", "/events", "/facts", "/supervision", "/report"):
        assert client.get(url + path).status_code == 404
    assert client.post(f"{url}/cancel").status_code == 404
    assert client.delete(url).status_code == 404
    assert client.get("/jobs").json()["data"] == []
