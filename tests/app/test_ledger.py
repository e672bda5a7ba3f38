"""What came of a job, over HTTP, on both databases."""

import json

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.ledger import service
from app.storage import LocalStore
from mixsd.exporting import ChatFormat, lines_of
from tests.app.published import FILES, a_published_job, supervision_of
from tests.factories import a_job


def test_every_fact_has_a_verdict_with_the_answers_it_rests_on(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    page = client.get(f"/jobs/{published.job_id}/facts").json()

    assert [(fact["ord"], fact["outcome"]) for fact in page["data"]] == [
        (0, "learned"),
        (1, "learned"),
        (2, "not_learned"),
    ]
    assert page["data"][0]["asked"][0]["base_answer"] == "No idea"


def test_a_verdict_from_before_there_were_modes_and_mistakes_can_be_read(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    fact = client.get(f"/jobs/{published.job_id}/facts").json()["data"][0]

    asked = fact["asked"][0]
    assert (fact["scored_by"], asked["probe_kind"], asked["base_mistake"]) == (None, None, None)


def test_verdicts_can_be_filtered_and_paged(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    url = f"/jobs/{a_published_job(database, store).job_id}/facts"

    first = client.get(url, params={"outcome": "learned", "limit": 1}).json()
    second = client.get(url, params={"outcome": "learned", "limit": 1, "cursor": first["next_cursor"]}).json()

    assert [fact["key"] for fact in first["data"] + second["data"]] == ["river-0", "river-1"]
    assert second["has_more"] is False
    assert client.get(url, params={"outcome": "skipped"}).json()["data"] == []
    assert client.get(url, params={"outcome": "magic"}).status_code == 422


def test_supervision_is_streamed_in_the_order_of_the_facts(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    answer = client.get(f"/jobs/{published.job_id}/supervision")

    assert answer.headers["content-type"] == "application/x-ndjson"
    expected = [supervision_of(published.job_id, *place).body for place in ((0, 0), (0, 1), (1, 0))]
    assert answer.text == "".join(
        json.dumps(body, sort_keys=True, ensure_ascii=False) + "\n" for body in expected
    )


@pytest.mark.parametrize("form", ["chat", "prompt-completion", "sharegpt"])
def test_supervision_comes_as_chats_of_the_texts_that_training_takes(
    form: str, client: TestClient, database: Database
) -> None:
    job_id = a_job(database, method={"type": "mixsd", "lam": 0.3, "prompt_style": "kgfact"})
    count = service.BATCH + 2
    with database.begin() as session:
        for n in range(count):
            row = supervision_of(job_id, n)
            row.body = row.body | {"verified": n > 0}
            session.add(row)

    answer = client.get(f"/jobs/{job_id}/supervision", params={"format": form})

    assert answer.headers["content-type"] == "application/x-ndjson"
    bodies = [supervision_of(job_id, n).body for n in range(1, count)]
    assert answer.text == "".join(lines_of(bodies, ChatFormat(form), prompt_style="kgfact"))
    assert answer.text.count("put your final answer") == answer.text.count("\n") == count - 1


def test_supervision_has_no_other_format(client: TestClient, database: Database) -> None:
    answer = client.get(f"/jobs/{a_job(database)}/supervision", params={"format": "alpaca"})

    assert answer.status_code == 422


def test_supervision_of_many_facts_loses_and_repeats_nothing(client: TestClient, database: Database) -> None:
    job_id = a_job(database)
    count = service.BATCH + 1
    with database.begin() as session:
        session.add_all(supervision_of(job_id, n // 2, n % 2) for n in range(count))

    lines = client.get(f"/jobs/{job_id}/supervision").text.splitlines()

    read = [(body["fact_key"], body["generation"]) for body in map(json.loads, lines)]
    assert read == [(f"river-{n // 2}", n % 2) for n in range(count)]


def test_a_report_sums_up_what_was_learned_and_lost(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)

    report = client.get(f"/jobs/{published.job_id}/report").json()

    outcomes = {name: count for name, count in report["counts"].items() if name != "facts"}
    assert (report["status"], report["counts"]["facts"]) == ("succeeded", 3)
    assert outcomes == {
        "already_known": 0,
        "learned": 2,
        "not_learned": 1,
        "no_supervision": 0,
        "regressed": 0,
        "skipped": 0,
    }
    assert report["scores"] == [
        {
            "suite": "recall",
            "metric": "accuracy",
            "n": 3,
            "base": 0.0,
            "base_low": 0.0,
            "base_high": 0.5,
            "adapter": 0.75,
            "adapter_low": 0.25,
            "adapter_high": 0.875,
            "difference": 0.75,
            "low": 0.5,
            "high": 1.0,
            "gained": 2,
            "lost": 0,
            "p_value": 0.5,
            "lower_is_better": False,
        }
    ]
    assert report["confidence"] == 0.95
    untold = {"leakage": None, "collapse": None}
    assert report["mistakes"] == [
        {
            "suite": "recall",
            "base": {"format": 0, "cross_entity": 1, "genuine": 2} | untold,
            "adapter": {"format": 0, "cross_entity": 0, "genuine": 1} | untold,
        }
    ]
    assert report["gate"] is None
    assert (report["training"]["steps"], report["supervision"]["mean_lam"]) == (12, 0.3)
    assert [(phase["phase"], phase["seconds"]) for phase in report["phases"]] == [
        ("generating", 6.0),
        ("training", 6.0),
    ]
    assert report["base_model"] == {"id": "tiny", "revision": "main"}
    assert report["adapter"]["id"] == published.adapter_id
    assert report["adapter"]["files"] == sorted(FILES)


def test_a_failed_gate_is_shown_with_the_job_its_report_and_its_adapter(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    gate = {"status": "failed", "suite": "general", "metric": "accuracy", "max_drop": 0.05, "n": 159}
    gate |= {"confidence": 0.95, "base": 0.7, "adapter": 0.5, "difference": -0.2, "low": -0.25, "high": -0.15}
    gate |= {"lower_is_better": False, "reason": None}
    published = a_published_job(database, store, gate=gate)

    assert client.get(f"/jobs/{published.job_id}").json()["gate"] == gate
    assert client.get(f"/jobs/{published.job_id}/report").json()["gate"] == gate
    adapter = client.get(f"/adapters/{published.adapter_id}").json()
    assert (adapter["status"], adapter["summary"]["gate"]) == ("quarantined", gate)
    assert (adapter["released_at"], adapter["release_reason"]) == (None, None)


def test_a_report_outlives_the_adapter(client: TestClient, database: Database, store: LocalStore) -> None:
    published = a_published_job(database, store)
    client.delete(f"/adapters/{published.adapter_id}")

    report = client.get(f"/jobs/{published.job_id}/report").json()

    assert (report["adapter"]["status"], report["adapter"]["files"]) == ("deleted", [])
    assert report["counts"]["learned"] == 2
    assert client.get(f"/jobs/{published.job_id}").json()["adapter_id"] is None


def test_a_job_that_has_not_ended_has_no_verdicts(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    report = client.get(f"/jobs/{job_id}/report").json()

    assert report["status"] == "queued"
    assert (report["scores"], report["adapter"], report["supervision"]) == ([], None, None)
    assert report["counts"]["facts"] == 2
    assert client.get(f"/jobs/{job_id}/facts").json()["data"] == []
    assert client.get(f"/jobs/{job_id}/supervision").text == ""
