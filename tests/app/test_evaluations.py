"""Evaluations over HTTP, on both databases."""

from fastapi.testclient import TestClient

from app.db.engine import Database
from app.storage import LocalStore
from tests.app.published import OUTCOMES, a_published_job


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
