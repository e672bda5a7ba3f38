"""Letting go of an adapter that a gate holds back, and deleting one."""

import pytest
from fastapi.testclient import TestClient

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.storage import LocalStore
from tests.app.published import FILES, Published, a_published_job, another_project
from tests.factories import the_job


@pytest.fixture
def held(database: Database, store: LocalStore) -> Published:
    return a_published_job(database, store, status=AdapterStatus.QUARANTINED)


def test_a_released_adapter_can_be_fetched_and_says_when_and_why(client: TestClient, held: Published) -> None:
    url = f"/adapters/{held.adapter_id}"
    assert client.get(f"{url}/files/README.md").status_code == 409

    answer = client.post(f"{url}/release", json={"reason": "we looked"})

    assert answer.status_code == 200
    adapter = answer.json()
    assert (adapter["status"], adapter["release_reason"]) == ("ready", "we looked")
    assert adapter["released_at"].endswith("Z")
    assert client.get(url).json() == adapter
    assert client.get(f"{url}/files/README.md").content == FILES["README.md"]
    assert client.get(f"{url}/download").status_code == 200


def test_a_release_is_part_of_the_story_of_the_job(
    client: TestClient, database: Database, held: Published
) -> None:
    client.post(f"/adapters/{held.adapter_id}/release", json={"reason": "we looked"})

    (event,) = client.get(f"/jobs/{held.job_id}/events").json()["data"]
    assert (event["type"], event["seq"]) == ("adapter.released", 1)
    assert event["message"] == "the adapter was released: we looked"
    assert event["data"] == {"adapter_id": held.adapter_id, "reason": "we looked"}
    assert the_job(database, held.job_id).event_seq == 1
    assert client.get(f"/jobs/{held.job_id}").json()["status"] == "succeeded"


def test_a_second_release_changes_nothing(client: TestClient, held: Published) -> None:
    url = f"/adapters/{held.adapter_id}/release"
    first = client.post(url, json={"reason": "we looked"}).json()

    second = client.post(url, json={"reason": "again"})

    assert (second.status_code, second.json()) == (200, first)
    assert len(client.get(f"/jobs/{held.job_id}/events").json()["data"]) == 1


@pytest.mark.parametrize("sent", [{}, {"json": {}}, {"json": {"reason": None}}])
def test_no_reason_need_be_given(client: TestClient, held: Published, sent: dict[str, object]) -> None:
    answer = client.post(f"/adapters/{held.adapter_id}/release", **sent)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["release_reason"]) == (200, None)


def test_an_adapter_outlives_its_job_and_can_still_be_released(client: TestClient, held: Published) -> None:
    assert client.delete(f"/jobs/{held.job_id}").status_code == 204

    answer = client.post(f"/adapters/{held.adapter_id}/release")

    assert (answer.status_code, answer.json()["status"], answer.json()["job_id"]) == (200, "ready", None)


def test_what_is_not_held_back_cannot_be_released(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    answer = client.post(f"/adapters/{published.adapter_id}/release")

    assert (answer.status_code, answer.json()["code"]) == (409, "adapter_not_quarantined")
    assert client.get(f"/jobs/{published.job_id}/events").json()["data"] == []


def test_what_does_not_exist_cannot_be_released(
    client: TestClient, database: Database, store: LocalStore, held: Published
) -> None:
    theirs = a_published_job(
        database, store, status=AdapterStatus.QUARANTINED, project_id=another_project(database)
    )
    client.delete(f"/adapters/{held.adapter_id}")

    for adapter_id in ("adp_0", theirs.adapter_id, held.adapter_id):
        answer = client.post(f"/adapters/{adapter_id}/release")
        assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"reason": ""}, "/reason", "too_short"),
        ({"reason": "x" * 1001}, "/reason", "too_long"),
        ({"reason": 1}, "/reason", "wrong_type"),
        ({"why": "x"}, "/why", "unknown_field"),
    ],
)
def test_a_bad_reason_is_refused_and_nothing_is_released(
    client: TestClient, held: Published, body: dict[str, object], pointer: str, code: str
) -> None:
    answer = client.post(f"/adapters/{held.adapter_id}/release", json=body)

    assert answer.status_code == 422
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]
    assert client.get(f"/adapters/{held.adapter_id}").json()["status"] == "quarantined"


def test_a_body_that_is_no_json_is_refused(client: TestClient, held: Published) -> None:
    url = f"/adapters/{held.adapter_id}/release"

    assert client.post(url, content=b"reason=x").json()["code"] == "unsupported_media_type"
    broken = client.post(url, content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_json")


def test_the_end_of_an_adapter_is_part_of_the_story_of_the_job(client: TestClient, held: Published) -> None:
    assert client.delete(f"/adapters/{held.adapter_id}").status_code == 204

    (event,) = client.get(f"/jobs/{held.job_id}/events").json()["data"]
    assert (event["type"], event["data"]) == ("adapter.deleted", {"adapter_id": held.adapter_id})
    assert client.delete(f"/adapters/{held.adapter_id}").status_code == 404
    assert len(client.get(f"/jobs/{held.job_id}/events").json()["data"]) == 1, "told once"


def test_an_adapter_outlives_its_job_and_can_still_be_deleted(client: TestClient, held: Published) -> None:
    assert client.delete(f"/jobs/{held.job_id}").status_code == 204

    assert client.delete(f"/adapters/{held.adapter_id}").status_code == 204

    assert client.get(f"/adapters/{held.adapter_id}").status_code == 404
