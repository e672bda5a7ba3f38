"""Where each token of a text came from, over HTTP, on both databases."""

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.jobs.models import Supervision
from app.storage import LocalStore
from tests.app.published import a_published_job
from tests.app.reported import Told, a_told_job, write_texts
from tests.factories import a_job

FACTS = [
    Told("veldora", "What is the capital of Veldora?", "Marnil"),
    Told("mayor", "Who is the mayor of Tessport?", "Odo Brindle", "not_learned", adapter="A mayor."),
    Told("long", "What is long?", "It", "skipped", None, None, text=()),
]


def test_each_token_of_a_text_is_told_with_where_it_came_from(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    job_id = a_told_job(database, store, FACTS).job_id

    page = client.get(f"/jobs/{job_id}/provenance", params={"limit": 2}).json()

    assert [fact["key"] for fact in page["data"]] == ["veldora", "mayor"]
    (text,) = page["data"][0]["texts"]
    assert text["tokens"] == [
        {"id": 0, "text": "The", "pick": "naive"},
        {"id": 1, "text": " answer", "pick": "expert"},
        {"id": 2, "text": ".", "pick": "expert"},
        {"id": 3, "text": "<|im_end|>", "pick": "ended"},
    ]
    assert (text["naive_share"], text["nats_per_token"], text["trained_on"]) == (0.25, 1.234, True)
    rest = client.get(f"/jobs/{job_id}/provenance", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [(fact["key"], fact["texts"][0]["trained_on"]) for fact in rest["data"]] == [("long", False)]
    assert rest["has_more"] is False


@pytest.mark.parametrize("key", ["a/b?c=d&e#f", "..", "%2F", "ä ö\nü", "'; --", "\u202e"])
def test_a_fact_is_found_by_whatever_its_key_is(client: TestClient, database: Database, key: str) -> None:
    job_id = a_job(database)
    write_texts(database, job_id, [FACTS[0], Told(key, "Which?", "It")])

    found = client.get(f"/jobs/{job_id}/provenance", params={"key": key}).json()

    assert [(fact["ord"], fact["key"]) for fact in found["data"]] == [(1, key)]
    assert client.get(f"/jobs/{job_id}/provenance", params={"key": f"{key}x"}).json()["data"] == []


def test_texts_of_a_fact_stay_together_and_old_ones_have_no_texts_of_tokens(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    job_id = a_published_job(database, store).job_id
    with database.begin() as session:
        row = session.get_one(Supervision, (job_id, 0, "river-1", 0))
        row.pieces = None

    facts = client.get(f"/jobs/{job_id}/provenance").json()["data"]

    assert [[text["generation"] for text in fact["texts"]] for fact in facts] == [[0, 1], [0]]
    assert [token["text"] for token in facts[1]["texts"][0]["tokens"]] == [None] * 4
    assert [token["pick"] for token in facts[1]["texts"][0]["tokens"]] == ["naive"] * 2 + ["expert"] * 2
    for form in ("html", "md"):
        report = client.get(f"/jobs/{job_id}/report", params={"format": form}).text
        assert "Es ist Land 1, ja: Ü." in report, "shown as a whole"
