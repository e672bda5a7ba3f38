"""Evaluations over HTTP, on both databases."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.jobs import leases
from app.jobs.models import MEASURING
from app.settings import Settings
from app.storage import LocalStore
from mixsd.evaluation.score import Score
from tests.app.conftest import ListeningDispatcher
from tests.app.published import OUTCOMES, Published, a_published_job
from tests.factories import a_fact_set
from worker.control import Control
from worker.publication import FactVerdict, Measurement


def test_an_evaluation_has_its_scores_and_counts(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    found = client.get(f"/evaluations/{published.evaluation_id}").json()

    assert (found["job_id"], found["adapter_id"]) == (published.job_id, published.adapter_id)
    counts = {name: count for name, count in found["counts"].items() if count}
    assert counts == {"facts": 3, "learned": 2, "not_learned": 1}
    (score,) = found["scores"]
    assert (score["suite"], score["n"], score["adapter"], score["gained"]) == ("recall", 3, 0.75, 2)
    report = client.get(f"/jobs/{published.job_id}/report").json()
    assert (report["counts"], report["scores"]) == (found["counts"], found["scores"])


def test_evaluations_are_listed_in_pages_and_by_what_they_are_of(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    one, two = (a_published_job(database, store) for _ in range(2))

    first = client.get("/evaluations", params={"limit": 1}).json()
    second = client.get("/evaluations", params={"limit": 1, "cursor": first["next_cursor"]}).json()

    assert {row["id"] for row in first["data"] + second["data"]} == {one.evaluation_id, two.evaluation_id}
    assert second["has_more"] is False
    for query in ({"job_id": two.job_id}, {"adapter_id": two.adapter_id}):
        (row,) = client.get("/evaluations", params=query).json()["data"]
        assert row == client.get(f"/evaluations/{two.evaluation_id}").json()
    assert client.get("/evaluations", params={"job_id": one.job_id, "adapter_id": two.adapter_id}).json() == {
        "data": [],
        "has_more": False,
        "next_cursor": None,
    }


def test_results_are_the_verdicts_of_the_job(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)
    url = f"/evaluations/{published.evaluation_id}/results"

    every = client.get(url).json()

    assert every == client.get(f"/jobs/{published.job_id}/facts").json()
    assert [row["outcome"] for row in every["data"]] == list(OUTCOMES)
    learned = client.get(url, params={"outcome": "learned", "limit": 1}).json()
    assert [row["key"] for row in learned["data"]] == ["river-0"]
    assert learned["has_more"] is True
    missing = client.get("/evaluations/eval_0/results")
    assert (missing.status_code, missing.json()["code"]) == (404, "evaluation_not_found")


@pytest.fixture
def held(database: Database, store: LocalStore) -> Published:
    """An adapter that its gate holds back, of a model that may be used."""
    return a_published_job(database, store, status=AdapterStatus.QUARANTINED, base_model="owner/model")


def asked_for(client: TestClient, published: Published, **request: Any) -> dict[str, Any]:
    answer = client.post("/evaluations", json={"adapter_id": published.adapter_id, **request})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    return job


def measured(database: Database, settings: Settings, job_id: str) -> None:
    """Do what a worker does, but for the asking."""
    with database.begin() as session:
        now = database.now(session)
        claim = leases.claim(
            session, queue="gpu", owner="me", version=MEASURING, now=now, lease=settings.lease
        )
    assert claim is not None
    assert claim.job_id == job_id
    verdict = {"key": "river-0", "question": "Where is river 0?", "answer": "Land 0", "reason": None}
    facts = [FactVerdict(0, "river-0", "not_learned", verdict | {"outcome": "not_learned", "asked": []})]
    gate = {"status": "failed", "suite": "recall", "reason": "n is small"}
    summary = {"confidence": 0.9, "mistakes": [], "gate": gate}
    scores = [Score("recall", "accuracy", 1, 0.0, 0.0, 0.0, 0.0, 0.0)]
    control = Control(database, claim, work_dir=settings.work_dir, patience=settings.lease)
    control.publish_measurement(Measurement(summary, facts, scores, gate))


def test_an_adapter_is_measured_again_by_a_job_that_has_no_method(
    client: TestClient, held: Published, dispatcher: ListeningDispatcher
) -> None:
    job = asked_for(client, held, name="again", priority=3, metadata={"why": "doubt"})

    told = {name: job[name] for name in ("kind", "status", "adapter_id", "fact_set_id", "name", "priority")}
    assert told == {
        "kind": "evaluation",
        "status": "queued",
        "adapter_id": held.adapter_id,
        "fact_set_id": held.fact_set_id,
        "name": "again",
        "priority": 3,
    }
    assert (job["method"], job["training"], job["variants"], job["forecast"]) == (None, None, [], None)
    assert (job["base_model"], job["revision"]) == ("owner/model", "main")
    assert job["evaluation"]["general"] is True
    assert (job["queue_position"], job["allowed_actions"]) == (1, ["cancel", "pause"])
    assert dispatcher.hints == ["gpu"]
    assert client.get(f"/jobs/{job['id']}").json() == job
    listed = {row["id"]: row["kind"] for row in client.get("/jobs").json()["data"]}
    assert listed == {held.job_id: "training", job["id"]: "evaluation"}
    (only,) = client.get("/jobs", params={"kind": "evaluation"}).json()["data"]
    assert only["id"] == job["id"]


def test_what_was_measured_is_an_evaluation_of_its_own_and_changes_nothing_else(
    client: TestClient, database: Database, settings: Settings, held: Published
) -> None:
    other = a_fact_set(database, n=1)
    before = [client.get(url).json() for url in urls_of(held)]
    job = asked_for(
        client, held, fact_set_id=other.id, evaluation={"gate": {"suite": "recall", "max_drop": 0}}
    )
    assert client.get("/evaluations", params={"job_id": job["id"]}).json()["data"] == []

    measured(database, settings, job["id"])

    (found,) = client.get("/evaluations", params={"job_id": job["id"]}).json()["data"]
    assert (found["adapter_id"], found["fact_set_id"]) == (held.adapter_id, other.id)
    assert (found["confidence"], found["gate"]["status"]) == (0.9, "failed")
    assert {name: n for name, n in found["counts"].items() if n} == {"facts": 1, "not_learned": 1}
    assert client.get(f"/evaluations/{found['id']}").json() == found
    assert [client.get(url).json() for url in urls_of(held)] == before
    both = client.get("/evaluations", params={"adapter_id": held.adapter_id}).json()["data"]
    assert [row["id"] for row in both] == [found["id"], held.evaluation_id]
    ended = client.get(f"/jobs/{job['id']}").json()
    assert (ended["status"], ended["gate"]["status"], ended["adapter_id"]) == (
        "succeeded",
        "failed",
        held.adapter_id,
    )
    types = [event["type"] for event in client.get(f"/jobs/{job['id']}/events").json()["data"]]
    assert types[-3:] == ["evaluation.completed", "job.gate_failed", "job.succeeded"]


def urls_of(published: Published) -> list[str]:
    job, adapter = published.job_id, published.adapter_id
    return [f"/jobs/{job}", f"/jobs/{job}/report", f"/jobs/{job}/facts", f"/adapters/{adapter}"]


@pytest.mark.parametrize("done", [0, 1])
def test_such_a_job_has_all_that_jobs_have(
    client: TestClient, database: Database, settings: Settings, held: Published, done: int
) -> None:
    job = asked_for(client, held)
    if done:
        measured(database, settings, job["id"])
    url = f"/jobs/{job['id']}"

    report = client.get(f"{url}/report").json()
    assert (report["kind"], report["method"], report["variants"]) == ("evaluation", None, [])
    assert (report["adapter"]["id"], report["ledger"]["total"]) == (held.adapter_id, done)
    assert report["confidence"] == (0.9 if done else None)
    assert len(report["scores"]) == done
    for form in ("md", "html"):
        text = client.get(f"{url}/report", params={"format": form}).text
        assert "it measures an adapter" in text
        assert "Settings of the method" not in text
    manifest = client.get(f"{url}/manifest").json()
    assert (manifest["kind"], manifest["repeatable"], manifest["versions"]) == ("evaluation", True, None)
    assert len(client.get(f"{url}/facts").json()["data"]) == done
    for part in ("events", "attempts", "checkpoints", "metrics", "supervision", "provenance"):
        assert client.get(f"{url}/{part}").status_code == 200, part
    missing = client.get(f"{url}/facts", params={"variant": 0})
    assert (missing.status_code, missing.json()["code"]) == (404, "variant_not_found")
    assert client.get("/queue").status_code == 200
    again = client.post("/evaluations", json=manifest["request"])
    assert again.status_code == 202
    assert again.json()["adapter_id"] == held.adapter_id


def test_such_a_job_is_paused_cancelled_retried_and_deleted_as_others(
    client: TestClient, database: Database, held: Published
) -> None:
    url = f"/jobs/{asked_for(client, held)['id']}"

    for action, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert client.post(f"{url}/{action}").json()["status"] == status
    assert client.post(f"{url}/retry").json()["status"] == "queued"
    client.post(f"{url}/cancel")
    assert client.delete(url).status_code == 204
    assert client.get(f"/adapters/{held.adapter_id}").status_code == 200


def test_once_the_job_of_an_adapter_is_gone_it_can_be_measured_all_the_same(
    client: TestClient, database: Database, settings: Settings, held: Published
) -> None:
    assert client.delete(f"/jobs/{held.job_id}").status_code == 204

    job = asked_for(client, held)
    measured(database, settings, job["id"])

    assert client.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"


def test_what_cannot_be_measured_is_refused(
    client: TestClient, database: Database, store: LocalStore, held: Published
) -> None:
    def refused(**body: Any) -> tuple[int, str]:
        answer = client.post("/evaluations", json={"adapter_id": held.adapter_id, **body})
        return answer.status_code, answer.json()["code"]

    assert refused(adapter_id="adp_0") == (404, "adapter_not_found")
    assert refused(fact_set_id="fset_0") == (404, "fact_set_not_found")
    gate = {"suite": "paraphrase", "max_drop": 0.1}
    assert refused(evaluation={"gate": gate}) == (422, "suite_not_measured")
    assert refused(method={"type": "sft"})[0] == 422
    assert refused(evaluation={"confidence": 2})[0] == 422
    not_allowed = a_published_job(database, store)
    assert refused(adapter_id=not_allowed.adapter_id) == (422, "model_not_allowed")
    client.delete(f"/adapters/{held.adapter_id}")
    assert refused() == (404, "adapter_not_found")
    assert client.get("/jobs", params={"kind": "evaluation"}).json()["data"] == []


def test_a_repeated_request_makes_one_job(client: TestClient, held: Published) -> None:
    body, key = {"adapter_id": held.adapter_id}, {"Idempotency-Key": "once"}

    first, second = (client.post("/evaluations", json=body, headers=key) for _ in range(2))

    assert first.json() == second.json()
    assert len(client.get("/jobs", params={"kind": "evaluation"}).json()["data"]) == 1


def test_workers_that_do_not_know_such_jobs_leave_them_alone(
    client: TestClient, database: Database, settings: Settings, held: Published
) -> None:
    asked_for(client, held)

    with database.begin() as session:
        claim = leases.claim(
            session,
            queue="gpu",
            owner="old",
            version=MEASURING - 1,
            now=database.now(session),
            lease=settings.lease,
        )
    assert claim is None
