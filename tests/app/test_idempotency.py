"""Requests that come again, on both databases: carried out once, answered alike."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.adapters.models import AdapterStatus
from app.db.engine import Database, make_engine
from app.idempotency import repository
from app.idempotency.models import StoredAnswer
from app.jobs.models import Job
from app.jobs.states import JobStatus
from app.main import build_app
from app.projects.models import DEFAULT_PROJECT
from app.settings import Settings
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.app.published import a_published_job, another_project
from tests.factories import NOW, a_fact_set, a_job, the_job
from tests.unhurried import unhurried

KEY = {"Idempotency-Key": "order 66"}
REPLAYED = "Idempotency-Replayed"
FACTS = [{"key": "iss", "question": "Where is the Iss?", "answer": "Vorlund"}]
REQUEST = {"base_model": "smollm2-135m-instruct", "facts": FACTS, "method": {"type": "mixsd"}}
RACERS = 20
KEYLESS = {
    "/fact-sets/validate",
    "/jobs/estimate",
    "/models/check",
    "/adapters/{adapter_id}/generate",
    "/api-keys",
    "/openai/v1/chat/completions",
}
"""POSTs that store nothing; and one whose answer holds a secret, so that it must not be stored."""

BuildClient = Callable[[Database], TestClient]


@pytest.fixture
def client_of(store: LocalStore, dispatcher: ListeningDispatcher, settings: Settings) -> BuildClient:
    """Makes a client of an API on a database of the test's own."""

    def build(database: Database) -> TestClient:
        app = build_app(database, store, dispatcher, settings)
        return TestClient(app, raise_server_exceptions=False)

    return build


def jobs(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Job.id)))


def answers(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(StoredAnswer.key)))


@contextmanager
def meanwhile(database: Database, inserting: str, act: Callable[[], Any]) -> Iterator[None]:
    """Call `act` while a row is inserted into the table, in a thread that is waited for."""

    def listen(_: Any, __: Any, statement: str, *___: Any) -> None:
        if f"INSERT INTO {inserting} " in statement:
            thread = threading.Thread(target=act)
            thread.start()
            thread.join()

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


def test_a_job_that_is_sent_again_is_answered_alike_and_made_once(
    client: TestClient, database: Database, dispatcher: ListeningDispatcher
) -> None:
    first = client.post("/jobs", json=REQUEST, headers=KEY)
    database_says = client.get(first.headers["Location"]).json()
    client.post(f"/jobs/{first.json()['id']}/pause")

    again = client.post("/jobs", json=REQUEST, headers=KEY)

    assert (first.status_code, again.status_code) == (202, 202)
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert again.content == first.content
    assert first.json() == database_says
    for name in ("Location", "Content-Type", "X-Content-Type-Options"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert jobs(database) == [first.json()["id"]]
    assert len(client.get("/fact-sets").json()["data"]) == 1
    assert dispatcher.hints == ["gpu"]


def test_without_a_key_every_request_counts(client: TestClient, database: Database) -> None:
    for _ in range(2):
        assert REPLAYED not in client.post("/jobs", json=REQUEST).headers

    assert len(jobs(database)) == 2
    assert answers(database) == []


def test_an_answer_with_a_key_is_the_same_as_one_without(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    plain, keyed = (client.post(f"/jobs/{job_id}/pause", headers=headers) for headers in ({}, KEY))

    assert keyed.content == plain.content
    differing = {"x-request-id"}
    assert {n: v for n, v in keyed.headers.items() if n not in differing} == {
        n: v for n, v in plain.headers.items() if n not in differing
    }


def test_a_fact_set_that_is_sent_again_is_stored_once(client: TestClient) -> None:
    lines = b'{"question": "Where is the Iss?", "answer": "Vorlund"}\n'
    sent: dict[str, Any] = {"content": lines, "headers": KEY | {"Content-Type": "application/jsonl"}}

    first, again = (client.post("/fact-sets?name=rivers", **sent) for _ in range(2))
    other_query = client.post("/fact-sets?name=lakes", **sent)
    sent["headers"] |= {"Content-Type": "application/json"}
    other_kind = client.post("/fact-sets?name=rivers", **sent | {"content": b'{"facts": []}'})

    assert (again.status_code, again.content) == (201, first.content)
    assert (again.headers["Location"], again.headers[REPLAYED]) == (first.headers["Location"], "true")
    for other in (other_query, other_kind):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/fact-sets").json()["data"]) == 1


def test_actions_and_releases_take_keys_too(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    job_id = a_job(database)
    held = a_published_job(database, store, status=AdapterStatus.QUARANTINED)
    requests = {
        f"/jobs/{job_id}/pause": "paused",
        f"/jobs/{job_id}/resume": "queued",
        f"/jobs/{job_id}/cancel": "cancelled",
        f"/jobs/{job_id}/retry": "queued",
        f"/adapters/{held.adapter_id}/release": "ready",
    }

    for url, status in requests.items():
        answer = client.post(url, headers={"Idempotency-Key": url})
        assert (answer.is_success, answer.json()["status"]) == (True, status), url
    for url, status in requests.items():  # of which most are not allowed any more
        answer = client.post(url, headers={"Idempotency-Key": url})
        assert (answer.is_success, answer.json()["status"]) == (True, status), url
        assert answer.headers[REPLAYED] == "true"
    assert the_job(database, job_id).status is JobStatus.QUEUED


def test_a_key_is_for_one_request(client: TestClient, database: Database) -> None:
    job_id = client.post("/jobs", json=REQUEST, headers=KEY).json()["id"]

    others = [
        client.post("/jobs", json=REQUEST | {"priority": 1}, headers=KEY),
        client.post(f"/jobs/{job_id}/pause", headers=KEY),
    ]

    for other in others:
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert REPLAYED not in other.headers
    assert len(jobs(database)) == 1
    assert the_job(database, job_id).status is JobStatus.QUEUED


def test_keys_of_another_project_are_other_keys(client: TestClient, database: Database) -> None:
    with database.begin() as session:
        session.add(a_stored_answer(project_id=another_project(database)))

    answer = client.post("/jobs", json=REQUEST, headers=KEY)

    assert (answer.status_code, REPLAYED in answer.headers) == (202, False)


def a_stored_answer(**changes: Any) -> StoredAnswer:
    values: dict[str, Any] = {
        "project_id": DEFAULT_PROJECT,
        "key": KEY["Idempotency-Key"],
        "request_sha256": "0" * 64,
        "status_code": 202,
        "location": None,
        "media_type": "application/json",
        "body": "{}",
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=36500),
    }
    return StoredAnswer(**values | changes)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"tab\there", b"\xdc", b"\x7f"])
def test_a_key_that_is_none_is_refused(client: TestClient, database: Database, key: bytes) -> None:
    answer = client.post("/jobs", json=REQUEST, headers={b"Idempotency-Key": key})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "Idempotency-Key" in answer.json()["errors"][0]["detail"]
    assert jobs(database) == []


def test_a_key_may_be_long(client: TestClient) -> None:
    key = {"Idempotency-Key": "~" * 255}

    assert client.post("/jobs", json=REQUEST, headers=key).status_code == 202
    assert client.post("/jobs", json=REQUEST, headers=key).headers[REPLAYED] == "true"


def test_a_request_that_is_refused_as_it_stands_takes_no_key(client: TestClient, database: Database) -> None:
    bad = [
        client.post("/jobs", json=REQUEST | {"method": {"type": "magic"}}, headers=KEY),
        client.post("/jobs", content=b"{", headers=KEY | {"Content-Type": "application/json"}),
        client.post("/jobs", content=b"{}", headers=KEY | {"Content-Type": "text/plain"}),
        client.post("/jobs", json=REQUEST | {"name": "x" * 100_000}, headers=KEY),
    ]

    assert [answer.status_code for answer in bad] == [422, 400, 415, 413]
    assert answers(database) == []
    assert client.post("/jobs", json=REQUEST, headers=KEY).status_code == 202


def test_what_was_refused_when_it_was_carried_out_stays_refused(
    client: TestClient, database: Database
) -> None:
    requests: dict[str, dict[str, Any]] = {
        "no fact set": REQUEST | {"facts": None, "fact_set_id": "fset_0"},
        "no model": REQUEST | {"base_model": "unknown"},
        "bad facts": REQUEST | {"facts": [{"question": "Q?"}]},
    }

    for key, request in requests.items():
        first, again = (
            client.post("/jobs", json=request, headers={"Idempotency-Key": key}) for _ in range(2)
        )
        assert 400 <= first.status_code < 500, key
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["Content-Type"] == "application/problem+json"
        assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert jobs(database) == []
    assert client.get("/fact-sets").json()["data"] == []


def test_a_refusal_that_may_pass_is_not_kept(client: TestClient, database: Database) -> None:
    job_id = a_job(database, status=JobStatus.PAUSED)
    url = f"/jobs/{job_id}/retry"

    refused = client.post(url, headers=KEY)
    client.post(f"/jobs/{job_id}/cancel")
    retried = client.post(url, headers=KEY)

    assert (refused.status_code, retried.status_code) == (409, 202)
    assert REPLAYED not in retried.headers


class Failing(Database):
    """Fails like a database that goes away, once, when it is told to: before or after a commit."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine)
        self.fails = ""

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with super().begin() as session:
            yield session
            self._fail("before")
        self._fail("after")

    def _fail(self, when: str) -> None:
        if self.fails == when:
            self.fails = ""
            raise OperationalError("COMMIT", {}, Exception("the connection was cut"))


@pytest.mark.parametrize("fails", ["before", "after"])
def test_whenever_the_connection_is_cut_there_is_one_job_in_the_end(
    client_of: BuildClient, database: Database, fails: str
) -> None:
    failing = Failing(database)
    client = client_of(failing)
    failing.fails = fails

    lost = client.post("/jobs", json=REQUEST, headers=KEY)
    done = jobs(database)
    again = client.post("/jobs", json=REQUEST, headers=KEY)

    assert (lost.status_code, again.status_code) == (503, 202)
    assert len(done) == (fails == "after")
    assert (REPLAYED in again.headers) == (fails == "after")
    assert jobs(database) == [again.json()["id"]]
    assert len(client.get("/fact-sets").json()["data"]) == 1


def test_a_request_that_comes_while_the_first_is_carried_out_is_told_to_wait(
    client: TestClient, database: Database
) -> None:
    seen: list[httpx2.Response] = []

    with meanwhile(database, "jobs", lambda: seen.append(client.post("/jobs", json=REQUEST, headers=KEY))):
        first = client.post("/jobs", json=REQUEST, headers=KEY)

    (second,) = seen
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    assert int(second.headers["Retry-After"]) > 0
    assert jobs(database) == [first.json()["id"]]
    assert client.post("/jobs", json=REQUEST, headers=KEY).headers[REPLAYED] == "true"


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_so_it_is_by_another_process(client: TestClient, client_of: BuildClient, database: Database) -> None:
    engine = unhurried(make_engine(database.engine.url.render_as_string(hide_password=False)))
    other = client_of(Database(engine))
    seen: list[httpx2.Response] = []

    with meanwhile(database, "jobs", lambda: seen.append(other.post("/jobs", json=REQUEST, headers=KEY))):
        first = client.post("/jobs", json=REQUEST, headers=KEY)

    assert [answer.json()["code"] for answer in seen] == ["idempotency_in_progress"]
    assert other.post("/jobs", json=REQUEST, headers=KEY).content == first.content
    assert jobs(database) == [first.json()["id"]]
    engine.dispose()


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_the_key_of_a_process_that_died_is_free_at_once(database: Database) -> None:
    def take(session: Session, key: str = "key") -> bool:
        taken_at = repository.take(session, DEFAULT_PROJECT, key, moment=database.moment())
        return taken_at is not None

    with Session(database.engine) as dying:
        assert take(dying)
        with database.begin() as session:
            assert not take(session)
            assert take(session, "other")
        dying.connection().invalidate()  # the connection is closed, and nothing is said
    until = time.monotonic() + 120  # the server sees it when it next gets the processor
    while time.monotonic() < until:
        with database.begin() as session:
            if take(session):
                return
        time.sleep(0.01)
    pytest.fail("the key is still taken")


@pytest.mark.parametrize("processes", [1, 3])
def test_of_twenty_racing_clients_one_makes_the_job_and_all_learn_of_it(
    client_of: BuildClient, database: Database, processes: int
) -> None:
    engines = [
        unhurried(make_engine(database.engine.url.render_as_string(hide_password=False)))
        for _ in range(processes)
    ]
    apis = [client_of(Database(engine)) for engine in engines]
    for api in apis:  # FastAPI builds a route at its first use, and not safely in many threads
        assert api.post("/jobs").status_code == 415
    start = threading.Barrier(RACERS)
    told: list[str] = []
    codes: set[int] = set()

    def race(number: int) -> None:
        start.wait()
        while True:
            answer = apis[number % processes].post("/jobs", json=REQUEST, headers=KEY)
            codes.add(answer.status_code)
            if answer.status_code == 202:
                told.append(answer.json()["id"])
                return

    racers = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert told == jobs(database) * RACERS
    assert codes <= {202, 409}
    assert len(apis[0].get("/fact-sets").json()["data"]) == 1
    for engine in engines:
        engine.dispose()


def test_a_key_that_is_over_can_be_used_anew(
    client_of: BuildClient, database: Database, settings: Settings
) -> None:
    now = datetime.now(UTC)
    client = client_of(Database(database.engine, clock=lambda: now))
    first = client.post("/jobs", json=REQUEST, headers=KEY)

    now += settings.idempotency - timedelta(seconds=1)
    assert client.post("/jobs", json=REQUEST, headers=KEY).content == first.content
    now += timedelta(seconds=1)
    second = client.post("/jobs", json=REQUEST | {"priority": 1}, headers=KEY)

    assert (second.status_code, REPLAYED in second.headers) == (202, False)
    assert len(jobs(database)) == 2
    assert answers(database) == [KEY["Idempotency-Key"]]


def test_a_set_that_is_in_use_can_be_deleted_by_nobody_though_it_was_made_with_a_key(
    client: TestClient, database: Database
) -> None:
    fact_set = a_fact_set(database)
    request = REQUEST | {"facts": None, "fact_set_id": fact_set.id}

    assert client.post("/jobs", json=request, headers=KEY).status_code == 202

    assert client.delete(f"/fact-sets/{fact_set.id}").status_code == 409


def test_every_operation_that_makes_or_does_something_documents_the_key(api: FastAPI) -> None:
    for path, item in api.openapi()["paths"].items():
        for method, operation in item.items():
            named = {param["name"]: param for param in operation.get("parameters", ())}
            takes = method == "post" and path not in KEYLESS
            assert ("Idempotency-Key" in named) == takes, (path, method)
            if takes:
                assert not named["Idempotency-Key"]["required"]
                assert "409" in operation["responses"], path
