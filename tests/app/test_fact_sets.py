"""Fact sets over HTTP, on both databases."""

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.jobs.states import JobStatus
from app.settings import Settings
from mixsd.facts import Fact, sha256_of
from tests.app.published import another_project
from tests.factories import NOW, a_fact_set, a_job

JSONL = {"Content-Type": "application/jsonl"}
JSON = {"Content-Type": "application/json"}
RIVER = {"key": "iss", "question": "Where is the Iss?", "answer": "Vorlund"}


def lines(*facts: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(fact).encode() for fact in facts)


def test_a_document_of_facts_becomes_a_set(client: TestClient) -> None:
    facts: list[dict[str, Any]] = [
        RIVER,
        {"question": "Who rules Vorlund?", "answer": "Ilse", "aliases": ["Queen Ilse"]},
    ]

    answer = client.post("/fact-sets", json={"name": "rivers", "facts": facts})

    assert answer.status_code == 201
    created = answer.json()
    assert (created["name"], created["n_facts"], created["rejected"]) == ("rivers", 2, [])
    read = client.get(answer.headers["Location"]).json()
    assert read == {key: value for key, value in created.items() if "rejected" not in key}
    listed = client.get(f"/fact-sets/{created['id']}/facts").json()["data"]
    assert [fact["question"] for fact in listed] == [fact["question"] for fact in facts]
    assert listed[1]["aliases"] == ["Queen Ilse"]
    canonical = [Fact.from_json({k: v for k, v in fact.items() if v and k != "ord"}) for fact in listed]
    assert created["sha256"] == sha256_of(canonical)


@pytest.mark.parametrize(
    "kind", ["application/jsonl", "application/x-ndjson", "application/JSONL; charset=utf-8"]
)
def test_a_file_of_lines_becomes_a_set(client: TestClient, kind: str) -> None:
    answer = client.post(
        "/fact-sets", params={"name": "lines"}, content=lines(RIVER), headers={"Content-Type": kind}
    )

    assert answer.status_code == 201
    assert (answer.json()["name"], answer.json()["n_facts"]) == ("lines", 1)


def test_a_set_without_a_name_is_called_by_its_digest(client: TestClient) -> None:
    created = client.post("/fact-sets", content=lines(RIVER), headers=JSONL).json()

    assert created["name"] == f"facts-{created['sha256'][:8]}"


def test_all_mistakes_are_listed_with_their_lines_and_nothing_is_stored(client: TestClient) -> None:
    content = lines(RIVER, {"question": "?"}, RIVER | {"answer": "Elsewhere"}, {"question": "Q?", "answr": 1})

    answer = client.post("/fact-sets", content=content + b"\n{", headers=JSONL)

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "invalid_facts"
    assert [(error["line"], error["code"]) for error in problem["errors"]] == [
        (2, "missing_field"),
        (3, "contradiction"),
        (4, "unknown_field"),
        (4, "missing_field"),
        (5, "malformed_json"),
    ]
    assert problem["total_errors"] == 5
    assert client.get("/fact-sets").json()["data"] == []


def test_bad_facts_can_be_skipped_and_are_reported(client: TestClient) -> None:
    answer = client.post(
        "/fact-sets", params={"on_error": "skip"}, content=lines(RIVER, {"question": "?"}), headers=JSONL
    )

    assert answer.status_code == 201
    assert (answer.json()["n_facts"], answer.json()["total_rejected"]) == (1, 1)
    assert answer.json()["rejected"][0]["line"] == 2


@pytest.mark.parametrize(
    ("facts", "pointer", "code"),
    [
        ([], None, "empty_fact_set"),
        ([{"question": "Where?"}], "/facts/0/answer", "missing_field"),
        ([{"question": "Where?", "answer": "  "}], "/facts/0/answer", "blank_text"),
        ([RIVER, RIVER | {"question": "Other?"}], "/facts/1", "duplicate_fact_key"),
        ([RIVER, RIVER | {"key": "b", "answer": "Elsewhere"}], "/facts/1", "contradiction"),
        ([RIVER | {"lambda": 1}], "/facts/0/lambda", "unknown_field"),
        ([7], "/facts/0", "wrong_type"),
        ("all", "/facts", "wrong_type"),
    ],
)
def test_a_bad_document_is_refused_with_a_pointer(
    client: TestClient, facts: Any, pointer: str | None, code: str
) -> None:
    answer = client.post("/fact-sets", json={"facts": facts})

    assert answer.status_code == 422
    assert answer.json()["errors"][0].get("pointer") == pointer
    assert answer.json()["errors"][0]["code"] == code


@pytest.mark.parametrize("on_error", ["reject", "skip"])
def test_a_set_without_one_good_fact_is_refused(client: TestClient, on_error: str) -> None:
    answer = client.post("/fact-sets", params={"on_error": on_error}, content=b"\n\n", headers=JSONL)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "empty_fact_set"


def test_an_envelope_with_mistakes_is_refused(client: TestClient) -> None:
    answer = client.post("/fact-sets", json={"name": 7, "fact": [RIVER]})

    assert {(error["pointer"], error["code"]) for error in answer.json()["errors"]} == {
        ("/fact", "unknown_field"),
        ("/name", "wrong_type"),
        ("/facts", "missing_field"),
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "malformed_json"),
        (b'{"facts": [', "malformed_json"),
        (b'{"facts": ["\xff"]}', "invalid_utf8"),
        (b'{"facts": [], "facts": []}', "duplicate_key"),
        (b'{"facts": [NaN]}', "non_finite_number"),
        (b'{"facts": [1e999]}', "non_finite_number"),
        (b'{"facts": ["\\ud800"]}', "invalid_unicode"),
        (b'{"facts": ["\\u0000"]}', "nul_character"),
        (b'{"facts": ' + b"[" * 40 + b"]" * 40 + b"}", "json_too_deep"),
        (b'{"facts": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "json_too_deep"),
        (b'{"facts": [' + b"9" * 5000 + b"]}", "number_too_long"),
    ],
)
def test_what_is_no_json_is_refused_on_every_route(client: TestClient, content: bytes, code: str) -> None:
    for path in ("/fact-sets", "/jobs"):
        body = content.replace(b"[" * 50_000 + b"]" * 50_000, b"[" * 5000 + b"]" * 5000)
        answer = client.post(path, content=body, headers=JSON)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
        assert answer.json()["errors"][0]["code"] == code


def test_a_mistake_at_the_end_of_a_long_body_is_found_soon(client: TestClient) -> None:
    names = ",".join(f'"{n}":1' for n in range(18_000))
    begun = time.process_time()

    doubled = client.post("/fact-sets", content=f'{{{names},"17999":1}}', headers=JSON)
    within = client.post("/fact-sets", content=f'{{"facts":[{{{names}}}]}}', headers=JSON)
    around = client.post("/fact-sets", content=f'{{"facts":[],{names}}}', headers=JSON)

    assert doubled.json()["errors"][0]["code"] == "duplicate_key"
    assert (within.json()["total_errors"], around.json()["total_errors"]) == (18_002, 18_000)
    assert len(within.json()["errors"]) == len(around.json()["errors"]) == 1000
    assert time.process_time() - begun < 3


def test_invalid_utf8_in_a_line_is_named_with_its_place(client: TestClient) -> None:
    answer = client.post("/fact-sets", content=lines(RIVER) + b'\n{"question": "\xff"}', headers=JSONL)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"line": 2, "column": 15, "code": "invalid_utf8", "detail": "the bytes are not UTF-8"}
    ]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
def test_other_media_types_are_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/fact-sets", content=lines(RIVER), headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_compressed_upload_is_refused(client: TestClient) -> None:
    answer = client.post("/fact-sets", content=b"x", headers=JSONL | {"Content-Encoding": "gzip"})

    assert answer.status_code == 415


def test_too_many_facts_are_refused(client: TestClient, settings: Settings) -> None:
    facts = [{"question": f"Q{n}?", "answer": "A"} for n in range(settings.max_facts + 1)]

    answer = client.post("/fact-sets", content=lines(*facts), headers=JSONL)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_facts")


def test_facts_come_in_pages_that_join_into_the_set(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database, n=5)
    url = f"/fact-sets/{fact_set.id}/facts"

    pages = [client.get(url, params={"limit": 2}).json()]
    while pages[-1]["has_more"]:
        pages.append(client.get(url, params={"limit": 2, "cursor": pages[-1]["next_cursor"]}).json())

    assert [[fact["ord"] for fact in page["data"]] for page in pages] == [[0, 1], [2, 3], [4]]
    assert pages[-1]["next_cursor"] is None


def test_a_deleted_set_is_gone(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    url = f"/fact-sets/{fact_set.id}"

    assert client.delete(url).status_code == 204

    for answer in (client.get(url), client.get(f"{url}/facts"), client.delete(url)):
        assert (answer.status_code, answer.json()["code"]) == (404, "fact_set_not_found")
    assert client.get("/fact-sets").json()["data"] == []


def test_a_set_that_a_job_needs_is_kept(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    job_id = a_job(database, fact_set.id)

    answer = client.delete(f"/fact-sets/{fact_set.id}")

    assert (answer.status_code, answer.json()["code"]) == (409, "fact_set_in_use")
    assert job_id in answer.json()["detail"]
    assert len(client.get(f"/fact-sets/{fact_set.id}/facts").json()["data"]) == 2


def test_a_set_whose_jobs_have_ended_can_be_deleted(client: TestClient, database: Database) -> None:
    fact_set = a_fact_set(database)
    a_job(database, fact_set.id, status=JobStatus.CANCELLED, finished_at=NOW)

    assert client.delete(f"/fact-sets/{fact_set.id}").status_code == 204


def test_another_projects_set_does_not_exist(client: TestClient, database: Database) -> None:
    other = another_project(database)
    fact_set = a_fact_set(database)
    with database.begin() as session:
        session.merge(fact_set).project_id = other

    for method, path in (("GET", ""), ("GET", "/facts"), ("DELETE", "")):
        assert client.request(method, f"/fact-sets/{fact_set.id}{path}").status_code == 404
    assert client.get("/fact-sets").json()["data"] == []
