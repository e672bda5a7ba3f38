"""Jobs over HTTP, on both databases."""

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, select

from app.db.engine import Database
from app.jobs.models import Job
from app.settings import Settings
from mixsd.models.registry import BUILT_IN
from tests.app.conftest import ListeningDispatcher
from tests.factories import a_fact_set, the_job

MODEL = "smollm2-135m-instruct"
FACTS = [{"key": "iss", "question": "Where is the Iss?", "answer": "Vorlund"}]
A_SHARDING: dict[str, Any] = {"shard": "full", "processes": 2}


def a_request(**changes: Any) -> dict[str, Any]:
    return {"base_model": MODEL, "facts": FACTS, "method": {"type": "mixsd"}} | changes


def a_gate(suite: str, *, general: bool = True, drift: bool = True, **changes: Any) -> dict[str, Any]:
    gate = {"suite": suite, "max_drop": 0.1} | changes
    return {"evaluation": {"general": general, "drift": drift, "gate": gate}}


def test_a_job_is_stored_queued_and_then_hinted_at(
    client: TestClient, database: Database, dispatcher: ListeningDispatcher
) -> None:
    fact_set = a_fact_set(database)
    request = {
        "name": "first",
        "base_model": MODEL,
        "fact_set_id": fact_set.id,
        "method": {"type": "mixsd", "lam": 0.5},
        "priority": 3,
        "metadata": {"team": "rivers"},
    }

    answer = client.post("/jobs", json=request)

    assert answer.status_code == 202
    job = answer.json()
    assert (job["status"], job["terminal"], job["queue_position"]) == ("queued", False, 1)
    assert (job["name"], job["priority"], job["metadata"]) == ("first", 3, {"team": "rivers"})
    assert (job["method"]["lam"], job["method"]["max_attempts"]) == (0.5, 10)
    assert job["revision"] == BUILT_IN[MODEL].revision
    assert (job["attempt"], job["adapter_id"], job["allowed_actions"]) == (0, None, ["cancel", "pause"])
    assert not {"fence", "lease_owner", "lease_expires_at", "project_id"} & job.keys()
    assert dispatcher.hints == ["gpu"]
    assert client.get(answer.headers["Location"]).json() == job


def test_facts_that_come_along_become_a_fact_set(client: TestClient) -> None:
    job = client.post("/jobs", json=a_request(name="rivers")).json()

    fact_set = client.get(f"/fact-sets/{job['fact_set_id']}").json()
    assert (fact_set["name"], fact_set["n_facts"]) == ("rivers", 1)


def test_the_story_of_a_job_begins_with_its_creation(client: TestClient, database: Database) -> None:
    job = client.post("/jobs", json=a_request()).json()

    listed = client.get(f"/jobs/{job['id']}/events").json()["data"]

    assert [(event["seq"], event["type"]) for event in listed] == [(1, "job.created"), (2, "job.queued")]
    assert the_job(database, job["id"]).event_seq == 2


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"method": {"type": "mixsd", "lam": 1.5}}, "/method/lam", "out_of_range"),
        ({"method": {"type": "mixsd", "lam": -0.1}}, "/method/lam", "out_of_range"),
        ({"method": {"type": "mixsd", "lam": True}}, "/method/lam", "wrong_type"),
        ({"method": {"type": "mixsd", "lam": "0.3"}}, "/method/lam", "wrong_type"),
        ({"method": {"type": "mixsd", "top_k": 7.0}}, "/method/top_k", "wrong_type"),
        ({"method": {"type": "mixsd", "max_attempts": "7"}}, "/method/max_attempts", "wrong_type"),
        ({"method": {"type": "mixsd", "max_attempts": True}}, "/method/max_attempts", "wrong_type"),
        ({"method": {"type": "mixsd", "seed": 10**200}}, "/method/seed", "out_of_range"),
        ({"method": {"type": "mixsd", "lambda": 0.3}}, "/method/lambda", "unknown_field"),
        ({"method": {"type": "mixsd", "verifier": "magic"}}, "/method/verifier", "unknown_value"),
        ({"method": {"type": "mixsd", "verifier": "regex"}}, "/method", "bad_pattern"),
        ({"method": {"type": "magic"}}, "/method/type", "unknown_value"),
        ({"method": {}}, "/method", "missing_field"),
        ({"method": "mixsd"}, "/method", "wrong_type"),
        ({"methods": 1}, "/methods", "unknown_field"),
        ({"training": {"rank": 0}}, "/training/rank", "out_of_range"),
        ({"training": {"target_modules": []}}, "/training/target_modules", "too_short"),
        ({"training": {"learning_rate_multiplier": 0}}, "/training/learning_rate_multiplier", "out_of_range"),
        (
            {"training": {"learning_rate": 0.5, "learning_rate_multiplier": 3}},
            "/training",
            "rate_too_high",
        ),
        ({"training": {"shard": "half"}}, "/training/shard", "unknown_value"),
        ({"training": {"shard": "full"}}, "/training", "bad_sharding"),
        ({"training": A_SHARDING | {"quantize": "nf4"}}, "/training", "bad_sharding"),
        ({"training": A_SHARDING | {"compile_layers": True}}, "/training", "bad_sharding"),
        ({"method": {"type": "opsd"}, "training": A_SHARDING}, "", "bad_sharding"),
        ({"evaluation": {"verifier": "regex"}}, "/evaluation/verifier", "unknown_value"),
        ({"evaluation": {"gate": {"max_drop": 0.1}}}, "/evaluation/gate/suite", "missing_field"),
        ({"evaluation": {"gate": "general"}}, "/evaluation/gate", "wrong_type"),
        (a_gate("general", max_drop=-0.1), "/evaluation/gate/max_drop", "out_of_range"),
        (a_gate("general", max_drop=5), "/evaluation/gate/max_drop", "out_of_range"),
        (a_gate("drift", max_drop="0.1"), "/evaluation/gate/max_drop", "wrong_type"),
        (a_gate("drift", confidence=1), "/evaluation/gate/confidence", "out_of_range"),
        (a_gate("mmlu"), "/evaluation/gate/suite", "unknown_value"),
        (a_gate("drift", alpha=0.05), "/evaluation/gate/alpha", "unknown_field"),
        (a_gate("general", general=False), "/evaluation/gate", "suite_not_measured"),
        (a_gate("drift", drift=False), "/evaluation/gate", "suite_not_measured"),
        ({"priority": 101}, "/priority", "out_of_range"),
        ({"metadata": {"a": 1}}, "/metadata/a", "wrong_type"),
        ({"fact_set_id": "fset_0"}, "", "facts_or_fact_set"),
        ({"facts": None}, "", "facts_or_fact_set"),
        ({"facts": {}}, "/facts", "wrong_type"),
    ],
)
def test_a_bad_request_is_refused_with_a_pointer(
    client: TestClient, dispatcher: ListeningDispatcher, changes: dict[str, Any], pointer: str, code: str
) -> None:
    answer = client.post("/jobs", json=a_request(**changes))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]
    assert dispatcher.hints == []
    assert client.get("/jobs").json()["data"] == []


PROBED = FACTS[0] | {"probes": [{"kind": "reversed", "question": "What is in Vorlund?", "answer": "Iss"}]}


@pytest.mark.parametrize(
    ("suite", "fact", "status"),
    [
        ("general", FACTS[0], 202),
        ("recall", FACTS[0], 202),
        ("paraphrase", FACTS[0], 422),
        ("paraphrase", FACTS[0] | {"paraphrases": ["Which land has the Iss?"]}, 202),
        ("paraphrase", FACTS[0] | {"paraphrases": []}, 422),
        ("probe", FACTS[0], 422),
        ("probe", PROBED, 202),
        ("probe_reversed", PROBED, 202),
        ("probe_neighbour", PROBED, 422),
        ("probe", FACTS[0] | {"paraphrases": ["Which land has the Iss?"]}, 422),
    ],
)
def test_a_gate_needs_facts_that_ask_for_it(
    client: TestClient, suite: str, fact: dict[str, Any], status: int
) -> None:
    plain = {"question": "Where is the Ull?", "answer": "Tessaly"}
    stored = client.post("/fact-sets", json={"facts": [plain, fact]}).json()["id"]

    answers = [
        client.post("/jobs", json=a_request(facts=[plain, fact], **a_gate(suite))),
        client.post("/jobs", json=a_request(facts=None, fact_set_id=stored, **a_gate(suite))),
    ]

    for answer in answers:
        assert answer.status_code == status
        if status == 422:
            assert answer.json()["code"] == "suite_not_measured"
            assert [error["pointer"] for error in answer.json()["errors"]] == ["/evaluation/gate"]
    assert len(client.get("/jobs").json()["data"]) == (2 if status == 202 else 0)
    assert len(client.get("/fact-sets").json()["data"]) == (2 if status == 202 else 1)


def test_a_gate_that_was_asked_for_is_shown(client: TestClient) -> None:
    job = client.post("/jobs", json=a_request(**a_gate("drift"))).json()

    asked = {"suite": "drift", "max_drop": 0.1, "confidence": 0.95}
    assert (job["evaluation"]["gate"], job["gate"]) == (asked, None)


def test_every_mistake_of_a_request_is_named_and_nothing_of_it_repeated(client: TestClient) -> None:
    secret = "hunter2"  # noqa: S105  not one
    request = a_request(base_model=7, method={"type": secret}, training={"rank": 0}, priority=secret)

    answer = client.post("/jobs", json=request)

    assert answer.json()["total_errors"] == 4
    assert secret not in answer.text


def test_of_very_many_mistakes_some_are_listed_and_all_are_counted(client: TestClient) -> None:
    answer = client.post("/jobs", json=a_request() | {f"field{n}": n for n in range(1500)})

    assert (len(answer.json()["errors"]), answer.json()["total_errors"]) == (1000, 1500)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"base_model": "unknown"}, "/base_model"),
        ({"base_model": "owner/other"}, "/base_model"),
        ({"base_model": "../../etc/passwd"}, "/base_model"),
        ({"revision": "main"}, "/revision"),
        ({"base_model": "owner/model", "revision": "../x"}, "/revision"),
    ],
)
def test_a_model_that_may_not_be_used_is_refused(
    client: TestClient, changes: dict[str, Any], pointer: str
) -> None:
    answer = client.post("/jobs", json=a_request(**changes))

    assert (answer.status_code, answer.json()["code"]) == (422, "model_not_allowed")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert client.get("/fact-sets").json()["data"] == []


def test_a_model_that_the_operator_allows_can_be_pinned(client: TestClient) -> None:
    job = client.post("/jobs", json=a_request(base_model="owner/model", revision="v1.0")).json()

    assert (job["base_model"], job["revision"]) == ("owner/model", "v1.0")


@pytest.mark.parametrize(
    ("facts", "pointer", "code"),
    [
        ([], None, "empty_fact_set"),
        ([{"question": "Q?"}], "/facts/0/answer", "missing_field"),
        ([*FACTS, FACTS[0] | {"question": "Other?"}], "/facts/1", "duplicate_fact_key"),
        ([*FACTS, FACTS[0] | {"key": "b", "answer": "Elsewhere"}], "/facts/1", "contradiction"),
    ],
)
def test_bad_facts_in_a_job_store_neither_job_nor_fact_set(
    client: TestClient, facts: list[Any], pointer: str | None, code: str
) -> None:
    answer = client.post("/jobs", json=a_request(facts=facts))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_facts")
    assert (answer.json()["errors"][0].get("pointer"), answer.json()["errors"][0]["code"]) == (pointer, code)
    assert client.get("/fact-sets").json()["data"] == []
    assert client.get("/jobs").json()["data"] == []


def test_a_job_needs_a_fact_set_that_is_there(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    client.delete(f"/fact-sets/{fact_set.id}")
    request = {"base_model": MODEL, "fact_set_id": fact_set.id, "method": {"type": "sft"}}

    answer = client.post("/jobs", json=request)

    assert (answer.status_code, answer.json()["code"]) == (404, "fact_set_not_found")


def test_a_fact_set_cannot_vanish_while_a_job_is_made_with_it(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    request = {"base_model": MODEL, "fact_set_id": fact_set.id, "method": {"type": "sft"}}
    deleted: list[int] = []
    deletion = threading.Thread(
        target=lambda: deleted.append(client.delete(f"/fact-sets/{fact_set.id}").status_code)
    )

    def delete_before_the_job_is_inserted(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "INSERT INTO jobs " in statement:
            deletion.start()
            deletion.join(0.5)

    event.listen(database.engine, "before_cursor_execute", delete_before_the_job_is_inserted)
    try:
        created = client.post("/jobs", json=request).status_code
    finally:
        event.remove(database.engine, "before_cursor_execute", delete_before_the_job_is_inserted)
    deletion.join()

    assert (created, deleted) == (202, [409])


def test_a_body_past_the_limit_is_refused(client: TestClient, settings: Settings) -> None:
    answer = client.post("/jobs", json=a_request(name="x" * settings.max_body_bytes))

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_job_that_is_not_sent_as_json_is_refused(client: TestClient, kind: str | None) -> None:
    answer = client.post("/jobs", content=b"{}", headers={"Content-Type": kind} if kind else {})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_what_the_job_will_do_is_frozen_with_its_defaults(client: TestClient, database: Database) -> None:
    job_id = client.post("/jobs", json=a_request()).json()["id"]

    with database.read() as session:
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
    assert isinstance(job.method, dict)
    assert job.method["lam_backoff"] == [0.15, 0.05, 0.0]
    assert job.training["rank"] == 16
    assert job.evaluation["confidence"] == 0.95
