"""What all routes share: problems, limits, headers, health, and the contract."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from sqlalchemy import create_engine, event, text

import migrations
from app.contract import contract
from app.db.engine import Database, make_engine
from app.main import build_app
from app.projects.models import DEFAULT_PROJECT
from app.settings import Settings
from app.storage import LocalStore
from app.web import health
from app.web.health import NotReadyError
from app.web.openai_errors import PREFIX
from tests.app.conftest import ListeningDispatcher
from tests.app.conversations import a_file
from tests.app.hooks import a_delivered_webhook
from tests.app.keys import a_key
from tests.app.published import a_log, a_published_job, an_export

ROOT = Path(__file__).parents[2]
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/jobs/", 404, "not_found"),
        ("PUT", "/jobs", 405, "method_not_allowed"),
        ("GET", "/jobs/job_0", 404, "job_not_found"),
        ("POST", "/jobs/job_0/cancel", 404, "job_not_found"),
        ("GET", "/fact-sets/fset_0", 404, "fact_set_not_found"),
        ("GET", "/adapters/adp_0", 404, "adapter_not_found"),
        ("GET", "/models/magic", 404, "model_not_found"),
        ("GET", "/jobs?limit=0", 422, "invalid_request"),
        ("GET", "/jobs?cursor=x", 400, "bad_cursor"),
        ("POST", "/jobs", 415, "unsupported_media_type"),
    ],
)
def test_every_error_is_a_problem_that_can_be_read(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    problem = answer.json()
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", status, code)
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]


def test_a_method_that_is_not_allowed_says_which_are(client: TestClient) -> None:
    assert client.put("/healthz").headers["allow"] == "GET"


def test_a_bug_is_a_problem_that_tells_nothing(api: FastAPI) -> None:
    @api.get("/bug")
    def bug() -> None:
        raise RuntimeError("the password is hunter2")

    answer = TestClient(api, raise_server_exceptions=False).get("/bug")

    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json()["code"] == "internal"
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_database_that_is_away_is_a_problem_that_passes(
    store: LocalStore, dispatcher: ListeningDispatcher, settings: Settings
) -> None:
    away = Database(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    client = TestClient(build_app(away, store, dispatcher, settings), raise_server_exceptions=False)

    answer = client.get("/jobs")

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert (client.get("/readyz").status_code, client.get("/readyz").json()["code"]) == (503, "not_ready")
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.fixture
def small_database(tmp_path: Path) -> Iterator[Database]:
    """A SQLite file that may grow by a few pages, as on a disk that is nearly full."""
    engine = make_engine(f"sqlite:///{tmp_path / 'small.db'}")
    migrations.upgrade(engine)
    with engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")

    yield Database(engine)
    engine.dispose()


def test_a_full_disk_is_named_and_nothing_is_half_written(
    small_database: Database, store: LocalStore, dispatcher: ListeningDispatcher, settings: Settings
) -> None:
    client = TestClient(build_app(small_database, store, dispatcher, settings), raise_server_exceptions=False)
    facts = [{"question": f"Q{n} {'x' * 300}?", "answer": "A"} for n in range(400)]
    request = {"base_model": "smollm2-135m-instruct", "method": {"type": "sft"}}

    answers = [
        client.post("/fact-sets", json={"facts": facts}),
        client.post("/jobs", json=request | {"facts": facts[:200]}),
    ]

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert client.get("/fact-sets").json()["data"] == []
    assert client.get("/jobs").json()["data"] == []
    assert client.post("/jobs", json=request | {"facts": facts[:1]}).status_code == 202


class Flood:
    """An endless body, as an ASGI server would hand it on; counts what is taken from it."""

    def __init__(self, *, length: int | None) -> None:
        self.taken = 0
        self.headers = [(b"content-type", b"application/json"), (b"host", b"test")]
        self.headers += [] if length is None else [(b"content-length", str(length).encode())]

    async def receive(self) -> dict[str, Any]:
        self.taken += 65_536
        return {"type": "http.request", "body": b" " * 65_536, "more_body": self.taken < 50_000_000}


@pytest.mark.parametrize("path", ["/jobs", "/fact-sets"])
@pytest.mark.parametrize("length", [50_000_000, None])
def test_a_50_mb_body_is_refused_before_it_is_read(
    api: FastAPI, settings: Settings, path: str, length: int | None
) -> None:
    flood = Flood(length=length)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": flood.headers,
        "client": ("test", 1),
        "server": ("test", 80),
    }
    anyio.run(api, scope, flood.receive, send)

    limit = settings.max_upload_bytes if path == "/fact-sets" else settings.max_body_bytes
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["code"] == "body_too_large"
    assert flood.taken <= (0 if length else limit + 65_536)


def test_answers_are_not_for_browsers_to_interpret(client: TestClient) -> None:
    headers = client.get("/version").headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_the_docs_load_what_they_need_from_this_service_alone(client: TestClient) -> None:
    answer = client.get("/docs")

    assert answer.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert len(loaded) == 3
    for path in loaded:
        asset = client.get(path)
        assert (asset.status_code, asset.content != b"") == (200, True), path
        assert asset.headers["X-Content-Type-Options"] == "nosniff"
    assert "http" not in re.sub(r"<!--.*?-->", "", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-inline';" in policy
    assert "http" not in policy


def test_the_docs_are_found_where_the_service_is_mounted(api: FastAPI) -> None:
    mounted = TestClient(api, root_path="/mixsd")

    page = mounted.get("/docs").text

    assert '"/mixsd/docs/swagger-ui.css"' in page
    assert "'/mixsd/openapi.json'" in page


def test_each_request_has_an_id_of_its_own(client: TestClient) -> None:
    first, second = (client.get("/healthz").headers["X-Request-Id"] for _ in range(2))

    assert first.startswith("req_")
    assert first != second


def test_health_says_what_works(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    assert client.get("/version").json()["version"]


def test_a_disk_that_is_nearly_full_takes_no_work() -> None:
    health.check_room(health.NEEDED)
    with pytest.raises(NotReadyError, match="99999999 bytes left"):
        health.check_room(health.NEEDED - 1)


def test_the_parts_are_closed_at_the_end(
    store: LocalStore, dispatcher: ListeningDispatcher, settings: Settings
) -> None:
    database = Database(create_engine("sqlite://"))

    with TestClient(build_app(database, store, dispatcher, settings)):
        assert not dispatcher.closed

    assert dispatcher.closed


def test_times_are_in_utc(client: TestClient) -> None:
    facts = [{"question": "Q?", "answer": "A"}]

    created_at = client.post("/fact-sets", json={"facts": facts}).json()["created_at"]

    assert created_at.endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds()) < 600


def test_the_contract_is_valid_openapi(api: FastAPI) -> None:
    validate(api.openapi())
    assert api.openapi()["openapi"].startswith("3.1")


def test_the_contract_on_file_is_that_of_the_code() -> None:
    on_file = (ROOT / "openapi.json").read_text()

    assert contract() == on_file, "run: python -m app.contract > openapi.json"


def operations(api: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in api.openapi()["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def test_the_contract_names_every_route_and_no_other(api: FastAPI, client: TestClient) -> None:
    expected = """
        POST /fact-sets, GET /fact-sets, GET /fact-sets/{fact_set_id}, DELETE /fact-sets/{fact_set_id},
        GET /fact-sets/{fact_set_id}/facts, GET /fact-sets/{fact_set_id}/diff, POST /fact-sets/validate,
        GET /models, GET /models/{model_id}, POST /models/check, POST /jobs, GET /jobs, POST /jobs/estimate,
        GET /jobs/{job_id}, PATCH /jobs/{job_id}, DELETE /jobs/{job_id},
        POST /jobs/{job_id}/cancel, POST /jobs/{job_id}/pause, POST /jobs/{job_id}/resume,
        POST /jobs/{job_id}/retry, GET /jobs/{job_id}/attempts, GET /jobs/{job_id}/checkpoints,
        GET /jobs/{job_id}/events, GET /jobs/{job_id}/metrics, GET /jobs/{job_id}/logs,
        POST /evaluations,
        GET /evaluations, GET /evaluations/{evaluation_id}, GET /evaluations/{evaluation_id}/results,
        GET /jobs/{job_id}/facts, GET /jobs/{job_id}/supervision, GET /jobs/{job_id}/report,
        GET /jobs/{job_id}/provenance, GET /jobs/{job_id}/manifest,
        GET /adapters, GET /adapters/{adapter_id}, DELETE /adapters/{adapter_id},
        POST /adapters/import, POST /adapters/{adapter_id}/release,
        GET /adapters/{adapter_id}/card, GET /adapters/{adapter_id}/manifest,
        GET /adapters/{adapter_id}/lineage, POST /adapters/{adapter_id}/generate,
        GET /adapters/{adapter_id}/download, GET /adapters/{adapter_id}/files,
        GET /adapters/{adapter_id}/serve,
        POST /adapters/{adapter_id}/exports, GET /adapters/{adapter_id}/exports,
        GET /adapters/{adapter_id}/exports/{export_id}, DELETE /adapters/{adapter_id}/exports/{export_id},
        GET /adapters/{adapter_id}/exports/{export_id}/download,
        GET /adapters/{adapter_id}/exports/{export_id}/files,
        GET /adapters/{adapter_id}/exports/{export_id}/files/{path},
        POST /projects, GET /projects, GET /projects/{project_id}, PATCH /projects/{project_id},
        DELETE /projects/{project_id}, POST /api-keys, GET /api-keys, GET /api-keys/{key_id},
        PATCH /api-keys/{key_id}, DELETE /api-keys/{key_id}, GET /audit, GET /quota, GET /usage,
        POST /webhooks, GET /webhooks, GET /webhooks/{webhook_id}, PATCH /webhooks/{webhook_id},
        DELETE /webhooks/{webhook_id}, POST /webhooks/{webhook_id}/test,
        POST /webhooks/{webhook_id}/rotate-secret, GET /webhooks/{webhook_id}/deliveries,
        GET /deliveries/{delivery_id}, POST /deliveries/{delivery_id}/redeliver,
        GET /adapters/{adapter_id}/files/{path}, GET /healthz, GET /readyz, GET /version,
        GET /metrics, GET /queue, GET /workers,
        POST /openai/v1/files, GET /openai/v1/files, GET /openai/v1/files/{file_id},
        DELETE /openai/v1/files/{file_id}, GET /openai/v1/files/{file_id}/content,
        POST /openai/v1/fine_tuning/jobs, GET /openai/v1/fine_tuning/jobs,
        GET /openai/v1/fine_tuning/jobs/{job_id}, POST /openai/v1/fine_tuning/jobs/{job_id}/cancel,
        POST /openai/v1/fine_tuning/jobs/{job_id}/pause, POST /openai/v1/fine_tuning/jobs/{job_id}/resume,
        GET /openai/v1/fine_tuning/jobs/{job_id}/events,
        GET /openai/v1/fine_tuning/jobs/{job_id}/checkpoints, GET /openai/v1/models,
        GET /openai/v1/models/{model}, DELETE /openai/v1/models/{model}, POST /openai/v1/chat/completions
    """
    documented = {f"{method} {path}" for path, method, _ in operations(api)}

    assert documented == {part.strip() for part in expected.split(",")}
    assert len(documented) == sum(isinstance(route, APIRoute) for route in routes_of(api))


def routes_of(holder: Any) -> Iterator[Any]:
    for route in holder.routes:
        inner = getattr(route, "original_router", None)
        yield from routes_of(inner) if inner is not None else [route]


def test_operations_are_named_after_what_they_do(api: FastAPI) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(api)]

    assert len(set(ids)) == len(ids)
    assert {"create_job", "get_job", "list_jobs", "cancel_job", "download_adapter"} <= set(ids)


def test_every_operation_documents_its_problems(api: FastAPI) -> None:
    for path, method, operation in operations(api):
        errors = {status: body for status, body in operation["responses"].items() if status[0] in "45"}
        assert {"422", "500", "503"} <= errors.keys(), (path, method)
        for body in errors.values():
            kind = "application/json" if path.startswith(PREFIX) else PROBLEM
            assert list(body["content"]) == [kind], (path, method)
            if path.startswith(PREFIX):
                assert body["content"][kind]["schema"]["$ref"].endswith("/OpenAIErrorBody"), (path, method)
    assert "HTTPValidationError" not in api.openapi()["components"]["schemas"]


def test_every_body_has_an_example(api: FastAPI) -> None:
    schemas = api.openapi()["components"]["schemas"]
    for path, _, operation in operations(api):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            name = media["schema"].get("$ref", "").rpartition("/")[2]
            assert media.get("example") or schemas[name]["examples"], path


def test_every_answer_has_an_example_that_its_schema_takes(api: FastAPI) -> None:
    document = api.openapi()
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(api):
        for status, answer in operation["responses"].items():
            name = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
            if status[0] == "2" and name:
                examples = schemas[name.rpartition("/")[2]].get("examples", [])
                assert examples, f"{method} {path}: give {name} an example, in app/examples.py"
                schema = {"$ref": name, "components": document["components"]}
                OAS31Validator(schema).validate(examples[0])


def test_examples_in_the_contract_are_accepted(api: FastAPI, client: TestClient) -> None:
    schemas = api.openapi()["components"]["schemas"]

    assert client.post("/jobs", json=schemas["JobCreate"]["examples"][0]).status_code == 202
    assert client.post("/fact-sets", json=schemas["FactSetCreate"]["examples"][0]).status_code == 201
    release = client.post("/adapters/adp_0/release", json=schemas["AdapterRelease"]["examples"][0])
    assert release.status_code == 404
    for path, name in (
        ("/projects", "ProjectCreate"),
        ("/api-keys", "ApiKeyCreate"),
        ("/webhooks", "WebhookCreate"),
    ):
        created = client.post(path, json=schemas[name]["examples"][0])
        assert created.status_code == 201
        update = schemas[name.replace("Create", "Update")]["examples"][0]
        assert client.patch(f"{path}/{created.json()['id']}", json=update).status_code == 200


def test_every_documented_read_works(
    client: TestClient, api: FastAPI, database: Database, store: LocalStore
) -> None:
    published = a_published_job(database, store)
    a_log(api.state.settings.work_dir, published.job_id)
    names = {
        "job_id": published.job_id,
        "adapter_id": published.adapter_id,
        "fact_set_id": published.fact_set_id,
        "evaluation_id": published.evaluation_id,
        "export_id": an_export(database, store, published),
        "model_id": "smollm2-135m-instruct",
        "path": "README.md",
        "model": published.adapter_id,
        "file_id": a_file(client)["id"],
        "project_id": DEFAULT_PROJECT,
        "key_id": a_key(database).id,
        **a_delivered_webhook(database, DEFAULT_PROJECT),
    }

    reads = [path.format(**names) for path, method, _ in operations(api) if method == "GET"]
    reads = [f"{path}?from={names['fact_set_id']}" if path.endswith("/diff") else path for path in reads]

    assert len(reads) > 30
    assert {path: client.get(path).status_code for path in reads} == dict.fromkeys(reads, 200)
