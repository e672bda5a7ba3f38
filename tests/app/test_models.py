"""Base models over HTTP."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.jobs.states import JobStatus
from app.settings import Settings
from mixsd.models.calls import Hub
from mixsd.models.registry import BUILT_IN, CARD, folder_of
from tests.factories import NOW, a_job

BUILT_IN_ID = "smollm2-135m-instruct"


def pulled(cache: Path, model_id: str, revision: str, **card: object) -> None:
    folder = folder_of(cache, model_id, revision)
    folder.mkdir(parents=True)
    (folder / CARD).write_text(json.dumps({"id": model_id, "revision": revision, **card}))


def cache_of(settings: Settings) -> Path:
    assert settings.model_cache is not None
    return settings.model_cache


def test_models_are_the_built_in_ones_and_those_that_are_allowed(client: TestClient) -> None:
    listed = client.get("/models").json()["data"]

    assert [model["id"] for model in listed] == ["owner/model", BUILT_IN_ID]
    assert listed[1] == {
        "id": BUILT_IN_ID,
        "revision": BUILT_IN[BUILT_IN_ID].revision,
        "licence": "apache-2.0",
        "parameters": BUILT_IN[BUILT_IN_ID].parameters,
        "bytes": BUILT_IN[BUILT_IN_ID].bytes,
        "built_in": True,
        "on_disk": False,
        "chat_template_sha256": None,
    }
    assert client.get(f"/models/{BUILT_IN_ID}").json() == listed[1]


def test_models_come_in_pages(client: TestClient) -> None:
    first = client.get("/models", params={"limit": 1}).json()
    second = client.get("/models", params={"limit": 1, "cursor": first["next_cursor"]}).json()

    assert [model["id"] for model in first["data"] + second["data"]] == ["owner/model", BUILT_IN_ID]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_model_on_disk_says_so(client: TestClient, settings: Settings) -> None:
    cache = cache_of(settings)
    pulled(cache, BUILT_IN_ID, BUILT_IN[BUILT_IN_ID].revision)
    pulled(cache, "owner/model", "v1", licence="mit", parameters=7, bytes="many", pulled_at="2026-01-01")
    pulled(cache, "owner/model", "v2", licence="mit", parameters=7, pulled_at="2026-01-02")

    read = client.get("/models/owner/model").json()

    assert (read["revision"], read["licence"], read["parameters"]) == ("v2", "mit", 7)
    assert (read["bytes"], read["on_disk"]) == (None, True)
    assert client.get(f"/models/{BUILT_IN_ID}").json()["on_disk"] is True


def test_a_model_that_may_not_be_named_is_not_there(client: TestClient, settings: Settings) -> None:
    pulled(cache_of(settings), "owner/other", "v1")

    for model_id in ("owner/other", "magic", "..%2f..%2fetc", "a/b/c"):
        answer = client.get(f"/models/{model_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
    assert "owner/other" not in [model["id"] for model in client.get("/models").json()["data"]]


def test_a_model_on_disk_tells_its_chat_template(client: TestClient, settings: Settings) -> None:
    cache = cache_of(settings)
    pulled(cache, "owner/model", "v1")
    (folder_of(cache, "owner/model", "v1") / "chat_template.jinja").write_text("{{ messages }}")

    read = client.get("/models/owner/model").json()

    assert read["chat_template_sha256"] == hashlib.sha256(b"{{ messages }}").hexdigest()


@pytest.fixture
def away(api: FastAPI) -> list[str]:
    """A hub that cannot be reached, and notes what it was asked for."""
    asked: list[str] = []

    def info(model_id: str, **_: Any) -> None:
        asked.append(model_id)
        raise TimeoutError("hf_secret")

    api.state.hub = Hub(info, info)
    return asked


def test_a_model_can_be_checked_before_a_job_names_it(
    client: TestClient, away: list[str], database: Database
) -> None:
    known = client.post("/models/check", json={"model": BUILT_IN_ID}).json()
    a_job(database, base_model=BUILT_IN_ID, status=JobStatus.SUCCEEDED, finished_at=NOW)

    assert (known["exists"], known["allowed"], known["gated"], known["problems"]) == (True, True, False, [])
    assert (known["licence"], known["on_disk"], known["built_in"]) == ("apache-2.0", False, True)
    assert known["fits"] is None
    assert client.post("/models/check", json={"model": BUILT_IN_ID}).json()["fits"] is True
    assert away == []


def test_a_hub_that_is_away_is_said_to_be_in_the_answer(client: TestClient, away: list[str]) -> None:
    answer = client.post("/models/check", json={"model": "owner/model", "revision": "main"})

    found = answer.json()
    assert (answer.status_code, found["exists"], found["allowed"]) == (200, None, True)
    assert [problem["code"] for problem in found["problems"]] == ["hub_unreachable"]
    assert "hf_secret" not in answer.text
    assert away == ["owner/model"]


def test_a_model_that_is_not_allowed_is_not_asked_for(client: TestClient, away: list[str]) -> None:
    found = client.post("/models/check", json={"model": "owner/other"}).json()
    bad = client.post("/models/check", json={"model": "owner/other", "token": "x"})

    assert (found["allowed"], found["exists"]) == (False, None)
    assert [problem["code"] for problem in found["problems"]] == ["model_not_allowed"]
    assert away == []
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_request")
