"""Base models over HTTP."""

import json
from pathlib import Path

from fastapi.testclient import TestClient

from app.settings import Settings
from mixsd.models.registry import BUILT_IN, CARD, folder_of

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
