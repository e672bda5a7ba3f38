"""What all routes share: problems, limits, headers, health."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, event, text

import migrations
from app.db.engine import Database, make_engine
from app.main import build_app
from app.settings import Settings
from app.storage import LocalStore
from app.web import health
from app.web.health import NotReadyError
from tests.app.conftest import ListeningDispatcher

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
