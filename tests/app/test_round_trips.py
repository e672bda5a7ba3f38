"""How often a server is asked for an answer: each question is a round trip, so none may creep in."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import event

from app.db.engine import Database
from app.jobs.models import JobPhase
from app.jobs.states import JobStatus, Phase
from tests.app.test_contract import routes_of
from tests.factories import NOW, a_fact_set, a_job

on_a_server = pytest.mark.parametrize("engine", ["postgres"], indirect=True)

FACTS = [{"key": "a", "question": "Who leads Vorlund?", "answer": "Ada Quist"}]
METHOD = {"base_model": "owner/model", "method": {"type": "mixsd", "lam": 0.3}}
RUNS: dict[str, Any] = {
    "status": JobStatus.RUNNING,
    "attempt": 1,
    "lease_owner": "me",
    "lease_expires_at": NOW,
    "heartbeat_at": NOW,
}


@dataclass
class Asked:
    statements: list[str] = field(default_factory=list)
    transactions: int = 0

    @property
    def kinds(self) -> list[str]:
        return [next(word for word in ("INSERT", "SELECT") if word in said) for said in self.statements]


@contextmanager
def listening(database: Database) -> Iterator[Asked]:
    asked = Asked()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.statements.append(statement)

    def note_transaction(connection: Any) -> None:
        asked.transactions += not connection.connection.dbapi_connection.autocommit

    event.listen(database.engine, "before_cursor_execute", note)
    event.listen(database.engine, "begin", note_transaction)
    try:
        yield asked
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
        event.remove(database.engine, "begin", note_transaction)


@on_a_server
def test_a_new_job_takes_two_statements_in_one_transaction(client: TestClient, database: Database) -> None:
    request = METHOD | {"fact_set_id": a_fact_set(database).id}
    first = client.post("/jobs", json=request)

    with listening(database) as asked:
        again = client.post("/jobs", json=request)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["forecast"] == first.json()["forecast"] is not None
    assert (asked.kinds, asked.transactions) == (["SELECT", "INSERT"], 1)


@on_a_server
def test_a_new_job_with_its_facts_takes_two_more_statements(client: TestClient, database: Database) -> None:
    client.post("/jobs", json=METHOD | {"facts": FACTS})

    with listening(database) as asked:
        assert client.post("/jobs", json=METHOD | {"facts": FACTS}).status_code == 202

    assert (asked.kinds, asked.transactions) == (["SELECT", "INSERT", "INSERT", "INSERT"], 1)


@on_a_server
def test_a_new_job_with_a_key_takes_one_transaction(client: TestClient, database: Database) -> None:
    request = METHOD | {"fact_set_id": a_fact_set(database).id}
    client.post("/jobs", json=request)

    with listening(database) as asked:
        client.post("/jobs", json=request, headers={"Idempotency-Key": "once"})
    with listening(database) as replayed:
        client.post("/jobs", json=request, headers={"Idempotency-Key": "once"})

    assert asked.transactions == 1
    assert len(asked.statements) == 9  # two for the job within a savepoint, five for the key
    assert (replayed.kinds, replayed.transactions) == (["SELECT"], 0)


@on_a_server
@pytest.mark.parametrize(
    ("changes", "statements"),
    [(RUNS, 2), ({"status": JobStatus.CANCELLED, "finished_at": NOW}, 1), ({}, 3)],
)
def test_a_poll_takes_no_transaction(
    client: TestClient, database: Database, changes: dict[str, Any], statements: int
) -> None:
    """Of a job that waits: the time is asked, and its place."""
    job_id = a_job(database, **changes)
    phase = {"phase": Phase.TRAINING, "attempt": 1, "fence": 1, "done": 1, "total": 2, "unit": "steps"}
    with database.begin() as session:
        session.add(JobPhase(job_id=job_id, started_at=NOW, updated_at=NOW, **phase))

    with listening(database) as asked:
        found = client.get(f"/jobs/{job_id}").json()

    assert len(found["progress"]) == found["attempt"]
    assert (len(asked.statements), asked.transactions) == (statements, 0)


@on_a_server
def test_a_page_of_jobs_takes_as_many_statements_as_one_of_each_kind(
    client: TestClient, database: Database
) -> None:
    """Jobs, phases, adapters, the time, places."""
    fact_set = a_fact_set(database).id
    for _ in range(5):
        a_job(database, fact_set)
        a_job(database, fact_set, **RUNS)
        a_job(database, fact_set, status=JobStatus.SUCCEEDED, attempt=1, finished_at=NOW)

    with listening(database) as asked:
        page = client.get("/jobs").json()

    assert len(page["data"]) == 15
    assert (len(asked.statements), asked.transactions) == (5, 0)


def _every(dependant: Dependant) -> Iterator[Dependant]:
    for each in dependant.dependencies:
        yield each
        yield from _every(each)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_what_routes_ask_for_is_not_fetched_in_threads(api: FastAPI) -> None:
    """FastAPI sends each dependency that is no coroutine to a thread, which costs as much as a query."""
    routes = [route for route in routes_of(api) if isinstance(route, APIRoute)]
    asked_for = [(route.path, each.call) for route in routes for each in _every(route.dependant)]
    asked_for += [("", each.dependency) for each in api.router.dependencies]

    assert len(asked_for) > len(routes)
    assert [
        (path, call)
        for path, call in asked_for
        if not inspect.iscoroutinefunction(call) and not inspect.isasyncgenfunction(call)
    ] == []
