"""The report of a job, in all its forms, over HTTP."""

from datetime import timedelta
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.jobs.states import JobStatus, Phase
from app.storage import LocalStore
from tests.app.report_pages import FACTS, SCORES, markdown_of, page_of
from tests.app.reported import (
    SETTINGS,
    Told,
    a_gate,
    a_told_job,
    add_phases,
    write_texts,
)
from tests.factories import NOW, a_fact_set, a_job

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # it is about what is shown

LEASE: Final = {"lease_owner": "w", "lease_expires_at": NOW, "heartbeat_at": NOW}
FAILED: Final = {
    "error_code": "no_supervision",
    "error_category": "user",
    "error_message": "no fact got a text",
    "error_retryable": False,
}


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("*/*", {}, "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", {}, "text/html; charset=utf-8"),
        ("text/markdown", {}, "text/markdown; charset=utf-8"),
        ("text/html", {"format": "json"}, "application/json"),
        ("application/json", {"format": "html"}, "text/html; charset=utf-8"),
        ("image/png", {}, "application/json"),
        ("text/html;q=0, */*", {}, "application/json"),
    ],
)
def test_a_report_comes_as_it_is_asked_for(
    client: TestClient, database: Database, accept: str, query: dict[str, str], expected: str
) -> None:
    answer = client.get(f"/jobs/{a_job(database)}/report", params=query, headers={"Accept": accept})

    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("query", [{"format": "pdf"}, {"facts": 1001}, {"facts": -1}, {"provenance": 101}])
def test_a_report_is_refused_in_another_form_or_without_bounds(
    client: TestClient, database: Database, query: dict[str, Any]
) -> None:
    answer = client.get(f"/jobs/{a_job(database)}/report", params=query)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_the_page_tells_all_of_a_job(client: TestClient, database: Database, store: LocalStore) -> None:
    published = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate(), name="Veldora")

    page = page_of(client, published.job_id)

    for said in (
        "Veldora",
        "3 facts: 1 learned, 1 not learned, 1 skipped.",
        "Gate failed: general knowledge changed by \u221220.0% from 70.0%",
        "The adapter is quarantined",
        published.job_id,
        published.adapter_id,
        "mixsd, lam 0.3",
        "What is the capital of Veldora?",
        "\u2717 No idea",
        "\u2713 It is so.",
        "prompt_too_long",
        "0 of 1 other questions right",
        "(cross entity)",
        "+96.0%",
        "drift on the model's own text, nats per token",
        "every question was answered",
        "3 min 0 s",
        "25% of 4 tokens naive",
        "1.234 nats per token under the base model",
    ):
        assert said in page.text
    ledger = [cell.strip() for cell in page.cells]
    assert {"learned", "not learned"} <= set(ledger)


def test_the_same_is_told_in_markdown(client: TestClient, database: Database, store: LocalStore) -> None:
    published = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate("inconclusive"))

    page = markdown_of(client, published.job_id)

    for said in (
        published.job_id,
        "3 facts: 1 learned, 1 not learned, 1 skipped.",
        "Gate inconclusive",
        "0 of 1 right",
        "\u2717 A mayor.",
        "[n The] [e \u00b7answer]",
    ):
        assert said in page.text


def test_every_score_has_its_interval_in_a_picture(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate())

    page = page_of(client, published.job_id)

    pictures = [told["aria-label"] for tag, told in page.tags if tag == "svg"]
    assert pictures.count("Differences of adapter and base model, with intervals") == 3  # units apart
    assert sum(tag == "circle" for tag, _ in page.tags) >= len(SCORES)
    assert [told.get("class") for tag, told in page.tags if tag == "line"].count("gate") == 1


def test_where_a_token_came_from_is_told_by_more_than_colour(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    page = page_of(client, a_told_job(database, store, FACTS).job_id)

    kinds = [told.get("class", "") for tag, told in page.tags if tag == "span"]
    assert kinds.count("token naive") == 1 + 2  # of the legend, and of two texts
    assert kinds.count("token expert") == 1 + 4
    assert "Then" in page.text, "under each token stands its letter"
    assert "<|im_end|>s" in page.text


def test_of_many_facts_some_are_listed_and_the_rest_is_pointed_to(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    facts = [Told(f"f{n}", f"What is number {n}?", str(n)) for n in range(205)]
    job_id = a_told_job(database, store, facts).job_id

    page, short = page_of(client, job_id), page_of(client, job_id, facts=2, provenance=0)

    told = f"200 of 205 facts are shown: all are at GET /jobs/{job_id}/facts"
    assert told in page.text
    assert f"10 of 205 facts with texts are shown: all are at GET /jobs/{job_id}/provenance" in page.text
    assert "number 199?" in page.text
    assert "number 200?" not in page.text
    assert "2 of 205 facts are shown" in short.text
    assert "Where the texts came from" not in short.text


def test_in_json_verdicts_and_texts_come_if_they_are_asked_for(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    url = f"/jobs/{a_told_job(database, store, FACTS).job_id}/report"

    plain, full = client.get(url).json(), client.get(url, params={"facts": 2, "provenance": 5}).json()

    assert (plain["ledger"]["total"], plain["ledger"]["data"], plain["provenance"]["data"]) == (3, [], [])
    assert [fact["key"] for fact in full["ledger"]["data"]] == ["veldora", "mayor"]
    assert [fact["key"] for fact in full["provenance"]["data"]] == ["veldora", "mayor", "long"]
    assert plain["texts"] == {"made": 3, "trained_on": 2}
    assert client.get(plain["ledger"]["more"]).json()["data"] == [
        *full["ledger"]["data"],
        client.get(plain["ledger"]["more"]).json()["data"][-1],
    ]


def test_the_same_job_gives_the_same_report(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    job_id = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate()).job_id

    for form in ("html", "md", "json"):
        first, second = (client.get(f"/jobs/{job_id}/report", params={"format": form}) for _ in range(2))
        assert first.content == second.content


@pytest.mark.parametrize(
    ("status", "changes", "said"),
    [
        (JobStatus.QUEUED, {"wait_reason": "out of memory"}, "It is held back: out of memory."),
        (JobStatus.RUNNING, {**LEASE, "phase": Phase.BASELINE}, "Phase: baseline."),
        (JobStatus.PAUSING, LEASE, "about to pause"),
        (JobStatus.PAUSED, {}, "paused"),
        (JobStatus.CANCELLING, LEASE, "being cancelled"),
        (JobStatus.FAILED, {**FAILED, "finished_at": NOW}, "no_supervision (user): no fact got a text."),
        (JobStatus.CANCELLED, {"finished_at": NOW}, "was cancelled"),
    ],
)
def test_a_job_without_a_verdict_has_a_report_of_what_there_is(
    client: TestClient, database: Database, status: JobStatus, changes: dict[str, Any], said: str
) -> None:
    job_id = a_job(database, a_fact_set(database).id, **SETTINGS | changes, status=status)
    add_phases(database, job_id, [Phase.PREPARING, Phase.BASELINE], last_done=4)
    write_texts(database, job_id, FACTS[:1])

    pages = [page_of(client, job_id), markdown_of(client, job_id)]

    for page in pages:
        assert said in page.text
        assert "There is no verdict on a fact" in page.text
        assert "4 of 10 steps" in page.text
        assert "1, 1 of them fit for training" in page.text
        assert "What is the capital of Veldora?" in page.text, "its text is there"


def test_a_job_with_nothing_yet_has_a_report(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    for page in (page_of(client, job_id), markdown_of(client, job_id)):
        assert "The job waits for a worker." in page.text
        assert "not looked up yet" in page.text


@pytest.mark.parametrize(
    "method",
    [
        {"type": "sft"},
        {"type": "opsd"},
        {"type": "memit", "layers": [3, 4]},
        {"type": "replay"},
    ],
    ids=lambda method: method["type"],
)
def test_every_method_is_told_with_its_settings(
    client: TestClient, database: Database, method: dict[str, Any]
) -> None:
    job_id = a_job(database, method=method, method_type=method["type"], finished_at=None)

    page = page_of(client, job_id)

    assert f"Method{method['type']}" in page.text
    assert "prompt_stylenatural" in page.text


def test_reports_tell_how_long_it_took(client: TestClient, database: Database, store: LocalStore) -> None:
    report = client.get(f"/jobs/{a_told_job(database, store, FACTS).job_id}/report").json()

    assert report["finished_at"] == (NOW + timedelta(minutes=4)).isoformat().replace("+00:00", "Z")
    assert sum(phase["seconds"] for phase in report["phases"]) == 180
