"""Models in OpenAI's words; errors, keys and repeated requests under all its paths."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.access import Scope
from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.jobs.models import Job
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.app.conversations import BASE, JOBS, URL, a_file, a_line, error_of, jsonl, upload
from tests.app.keys import a_client, a_key
from tests.app.published import a_published_job
from tests.factories import NOW


def test_models_are_base_models_and_adapters_and_only_those_are_deleted(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    ready = a_published_job(database, store)
    held = a_published_job(database, store, status=AdapterStatus.QUARANTINED)

    found = {model["id"]: model for model in client.get(f"{URL}/models").json()["data"]}
    job = client.get(f"{JOBS}/{ready.job_id}").json()

    assert found.keys() == {BASE, "owner/model", ready.adapter_id, held.adapter_id}
    assert (found["owner/model"]["owned_by"], found["owner/model"]["status"]) == ("owner", "not_on_disk")
    assert (found[ready.adapter_id]["status"], found[ready.adapter_id]["parent"]) == ("ready", "tiny")
    assert found[held.adapter_id]["status"] == "quarantined"
    assert (job["status"], job["fine_tuned_model"]) == ("succeeded", ready.adapter_id)
    for model, shown in found.items():
        assert client.get(f"{URL}/models/{model}").json() == shown
    stays = client.delete(f"{URL}/models/owner/model")
    gone = client.delete(f"{URL}/models/{ready.adapter_id}")
    assert (stays.status_code, error_of(stays)["code"]) == (403, "base_model_stays")
    assert gone.json() == {"id": ready.adapter_id, "object": "model", "deleted": True}
    for answer in (
        client.get(f"{URL}/models/{ready.adapter_id}"),
        client.delete(f"{URL}/models/{ready.adapter_id}"),
        client.get(f"{URL}/models/gpt-4o"),
        client.delete(f"{URL}/models/gpt-4o"),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")
    assert client.get(f"/adapters/{ready.adapter_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "", {}, 404, "not_found"),
        ("GET", "/assistants", {}, 404, "not_found"),
        ("PUT", "/files", {}, 405, "method_not_allowed"),
        ("GET", "/files?color=red", {}, 422, "unsupported_parameter"),
        ("GET", "/fine_tuning/jobs?metadata[team]=x", {}, 422, "unsupported_parameter"),
        ("GET", "/files?limit=0", {}, 422, "out_of_range"),
        ("GET", "/files?limit=1&limit=2", {}, 422, "repeated_parameter"),
        ("GET", "/files?after=file-abc", {}, 400, "bad_cursor"),
        ("GET", "/files/file_%00", {}, 400, "nul_character"),
        ("POST", "/files", {"json": {}}, 415, "unsupported_media_type"),
        ("POST", "/files", {"data": {"purpose": "fine-tune"}, "files": {}}, 415, "unsupported_media_type"),
        ("POST", "/files", {"files": {"file": "x" * 300_000}}, 413, "body_too_large"),
        ("POST", "/files", {"files": {"other": "x"}}, 400, "malformed_multipart"),
        ("POST", "/fine_tuning/jobs", {"content": b"{}"}, 415, "unsupported_media_type"),
        ("POST", "/fine_tuning/jobs", {"json": {"model": "x" * 200_000}}, 413, "body_too_large"),
        ("POST", "/fine_tuning/jobs", {"json": []}, 422, "wrong_type"),
        ("GET", "/models?" + "x" * 20_000, {}, 414, "uri_too_long"),
    ],
    ids=range(17),
)
def test_every_error_has_the_shape_that_clients_read(
    client: TestClient, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    answer = client.request(method, f"{URL}{path}", **options)

    assert (answer.status_code, error_of(answer)["code"]) == (status, code), answer.text
    if status == 405:
        assert answer.headers["allow"] == "GET, POST"


def test_a_path_that_only_begins_alike_is_told_of_as_everywhere(client: TestClient) -> None:
    for path in ("/openai", "/openai/v10", "/openai/v2/files"):
        assert client.get(path).headers["content-type"] == "application/problem+json"


def test_keys_scopes_and_rates_are_told_of_in_that_shape_too(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    asking = settings.model_copy(update={"auth": AuthMode.REQUIRED, "rate_limit": 2})
    api = build_app(database, store, NullDispatcher(), asking, lambda: NOW)  # within one minute
    reader = a_client(api, a_key(database, scopes=[Scope.READ]).secret)

    stranger = a_client(api, address="10.0.0.2").get(f"{URL}/models")
    wrong = a_client(api, "sk-proj-abc", address="10.0.0.3").get(f"{URL}/models")
    missing = upload(reader, jsonl(a_line()))
    answers = [reader.get(f"{URL}/models") for _ in range(3)]

    assert (stranger.status_code, error_of(stranger)["code"]) == (401, "unauthenticated")
    assert stranger.headers["www-authenticate"].startswith("Bearer")
    assert (wrong.status_code, error_of(wrong)["code"]) == (401, "invalid_api_key")
    assert (missing.status_code, error_of(missing)["type"]) == (403, "permission_error")
    assert answers[0].status_code == 200
    last = answers[-1]
    assert (last.status_code, error_of(last)["type"]) == (429, "rate_limit_error")
    assert int(last.headers["retry-after"]) > 0


def test_without_keys_of_its_own_a_service_takes_any(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    api = build_app(database, store, NullDispatcher(), settings.model_copy(update={"auth": AuthMode.AUTO}))

    assert a_client(api, "sk-unused", address="127.0.0.1").get(f"{URL}/models").status_code == 200


def test_a_bug_tells_nothing(api: FastAPI) -> None:
    @api.get(f"{URL}/bug")
    def bug() -> None:
        raise RuntimeError("the password is hunter2")

    answer = TestClient(api, raise_server_exceptions=False).get(f"{URL}/bug")

    error = error_of(answer)
    assert (answer.status_code, error["type"], error["code"]) == (500, "server_error", "internal")
    assert "hunter2" not in answer.text


def test_a_request_that_comes_again_is_answered_alike(client: TestClient, database: Database) -> None:
    key = {"Idempotency-Key": "once"}
    request = {"model": BASE, "training_file": a_file(client)["id"]}

    first, again = (client.post(JOBS, json=request, headers=key) for _ in range(2))
    other = client.post(JOBS, json=request | {"seed": 1}, headers=key)

    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert (other.status_code, error_of(other)["code"]) == (422, "idempotency_key_reused")
    with database.read() as session:
        assert len(session.query(Job).all()) == 1
    refused = [
        client.post(JOBS, json=request | {"model": "x"}, headers={"Idempotency-Key": "x"}) for _ in "ab"
    ]
    assert error_of(refused[1]) == error_of(refused[0])
    assert refused[1].headers["idempotency-replayed"] == "true"
