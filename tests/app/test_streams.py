"""Events as they happen: what a client sees that keeps a stream open."""

import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.access import Scope
from app.clock import utc_now
from app.db.engine import Database
from app.events.repository import NewEvent
from app.ids import JobId, ProjectId
from app.jobs import repository
from app.jobs.models import Job, JobPhase
from app.jobs.states import JobStatus, Phase
from app.live import watching
from app.live.watching import Live, Times
from app.main import build_app
from app.projects.models import DEFAULT_PROJECT, ApiKey
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.app.keys import a_key
from tests.app.listening import Message, listening, messages, numbers, stream
from tests.app.published import another_project
from tests.factories import NOW, a_job

SOON = Times(poll=0.02, progress=0.02, comment=3600)
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def url(api: FastAPI, database: Database) -> Iterator[str]:
    api.state.live = Live(database, SOON)
    with listening(api) as url:
        yield url


def tell(database: Database, job_id: JobId, kinds: Sequence[str]) -> None:
    with database.begin() as session:
        repository.tell(session, job_id, [NewEvent(kind, f"{kind} happened") for kind in kinds], now=NOW)


def a_story(database: Database, length: int, project_id: ProjectId = DEFAULT_PROJECT) -> JobId:
    """A queued job to which `length` things have happened."""
    job_id = a_job(database, project_id=project_id)
    tell(database, job_id, ["job.warning"] * length)
    return job_id


def end(database: Database, job_id: JobId) -> None:
    with database.begin() as session:
        ended = {"status": JobStatus.CANCELLED, "finished_at": NOW}
        session.execute(update(Job).where(Job.id == job_id).values(**ended))
        repository.tell(session, job_id, [NewEvent("job.cancelled", "it was cancelled")], now=NOW)


def soon(done: Callable[[], bool]) -> bool:
    """Wait for something to become true. A bound on waiting, not on speed."""
    event = threading.Event()
    return any(done() or event.wait(0.02) for _ in range(6000))


def test_an_ended_job_is_told_from_its_beginning_and_the_stream_ends(
    client: TestClient, database: Database
) -> None:
    job_id = a_story(database, 3)
    end(database, job_id)

    answer = client.get(f"/jobs/{job_id}/events", headers=STREAM)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Accept", "no-store")
    first, *told = messages(iter(answer.text.splitlines()))
    assert first == Message(retry="3000")
    listed = client.get(f"/jobs/{job_id}/events").json()["data"]
    assert [message.data for message in told] == listed
    assert [message.event for message in told] == [event["type"] for event in listed]
    assert [message.id for message in told] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("query", "header", "left"),
    [("", "3", [4, 5]), ("?after=2", None, [3, 4, 5]), ("?after=2", "4", [5]), ("?cursor={4}", None, [5])],
)
def test_a_client_that_comes_again_is_told_what_it_has_not_seen(
    client: TestClient, database: Database, query: str, header: str | None, left: list[int]
) -> None:
    job_id = a_story(database, 4)
    end(database, job_id)
    headers = STREAM | ({"Last-Event-ID": header} if header else {})
    page = client.get(f"/jobs/{job_id}/events", params={"limit": 4}).json()

    query = query.replace("{4}", page["next_cursor"])
    answer = client.get(f"/jobs/{job_id}/events{query}", headers=headers)

    assert numbers(messages(iter(answer.text.splitlines()))) == left


def test_a_client_that_has_seen_the_end_is_told_not_to_come_again(
    client: TestClient, database: Database
) -> None:
    job_id = a_story(database, 1)
    end(database, job_id)

    answer = client.get(f"/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": "2"})

    assert (answer.status_code, answer.text) == (204, "")


def test_before_a_stream_begins_what_is_wrong_is_a_problem(client: TestClient, database: Database) -> None:
    hidden = a_story(database, 1, another_project(database))
    job_id = a_story(database, 1)

    answers = [
        client.get(f"/jobs/{hidden}/events", headers=STREAM),
        client.get("/jobs/job_0/events", headers=STREAM),
        client.get(f"/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": "evt_1"}),
        client.get(f"/jobs/{job_id}/events?after=-1", headers=STREAM),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (404, "job_not_found"),
        (404, "job_not_found"),
        (400, "bad_event_id"),
        (422, "invalid_request"),
    ]


def test_events_are_told_as_they_happen_and_the_end_is_the_end(url: str, database: Database) -> None:
    job_id = a_story(database, 1)

    with stream(f"{url}/jobs/{job_id}/events") as said:
        assert numbers(said, last=1) == [1]
        tell(database, job_id, ["job.pausing", "job.paused"])
        assert numbers(said, last=3) == [2, 3]
        end(database, job_id)
        assert [message.event for message in said] == ["job.cancelled"]


def test_a_number_from_the_future_hides_nothing_that_happens(url: str, database: Database) -> None:
    job_id = a_story(database, 2)

    with stream(f"{url}/jobs/{job_id}/events", after="9000") as said:
        assert next(said).retry
        end(database, job_id)
        assert numbers(said) == [3]


def test_a_job_that_is_opened_again_goes_on_in_the_same_stream(url: str, database: Database) -> None:
    job_id = a_story(database, 1)
    tell(database, job_id, ["job.failed", "job.requeued"])

    with stream(f"{url}/jobs/{job_id}/events") as said:
        assert numbers(said, last=3) == [1, 2, 3]
        end(database, job_id)
        assert numbers(said) == [4]


@pytest.mark.parametrize("length", [watching.KEPT - 1, 3 * watching.KEPT + 7])
def test_a_long_story_is_told_whole_to_early_and_late_clients_while_it_grows(
    url: str, database: Database, length: int
) -> None:
    job_id = a_story(database, length)
    told: dict[int, list[int]] = {}

    def read(client: int, after: str | None) -> None:
        with stream(f"{url}/jobs/{job_id}/events", after) as said:
            told[client] = numbers(said)

    def write() -> None:
        for _ in range(10):
            tell(database, job_id, ["job.warning"] * 3)

    clients = [threading.Thread(target=read, args=(n, str(n * 10) if n else None)) for n in range(6)]
    writers = [threading.Thread(target=write) for _ in range(3)]
    for thread in (*clients, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    end(database, job_id)
    for thread in clients:
        thread.join()

    last = length + 3 * 10 * 3 + 1
    assert told == {n: list(range(n * 10 + 1, last + 1)) for n in range(6)}


def test_several_processes_of_the_api_tell_the_same(
    url: str, database: Database, store: LocalStore, dispatcher: ListeningDispatcher, settings: Settings
) -> None:
    job_id = a_story(database, 2)
    other = build_app(database, store, dispatcher, settings)
    other.state.live = Live(database, SOON)

    with (
        listening(other) as another_url,
        stream(f"{url}/jobs/{job_id}/events") as first,
        stream(f"{another_url}/jobs/{job_id}/events") as second,
    ):
        tell(database, job_id, ["job.warning"])
        end(database, job_id)
        assert numbers(first) == numbers(second) == [1, 2, 3, 4]


def at_work(database: Database, job_id: JobId, done: int) -> None:
    """Have a worker say how far it is."""
    owned = {"status": JobStatus.RUNNING, "phase": Phase.TRAINING, "attempt": 2, "lease_owner": "w"}
    owned |= {"lease_expires_at": NOW, "heartbeat_at": NOW}
    row = JobPhase(
        job_id=job_id,
        phase=Phase.TRAINING,
        attempt=2,
        fence=2,
        done=done,
        total=40,
        unit="steps",
        rate=2.0,
        eta_seconds=(40 - done) / 2,
        started_at=NOW,
        updated_at=NOW + timedelta(seconds=done),
    )
    with database.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**owned))
        session.merge(row)


def test_progress_is_told_without_a_number_and_is_not_stored(url: str, database: Database) -> None:
    job_id = a_story(database, 1)

    with stream(f"{url}/jobs/{job_id}/events", after="1") as said:
        assert next(said).retry
        at_work(database, job_id, 10)
        progress = next(said)
        assert (progress.event, progress.id) == ("job.progress", None)
        assert progress.data == {
            "type": "job.progress",
            "job_id": job_id,
            "attempt": 2,
            "phase": "training",
            "level": "info",
            "created_at": "2026-11-24T10:00:10Z",
            "message": "training: 10 of 40 steps",
            "data": {
                "phase": "training",
                "done": 10,
                "total": 40,
                "unit": "steps",
                "rate": 2.0,
                "eta_seconds": 15.0,
                "finished": False,
            },
        }
        at_work(database, job_id, 12)
        assert next(said).data["data"]["done"] == 12
        with stream(f"{url}/jobs/{job_id}/events", after="1") as later:
            assert [next(later).retry, next(later).event] == ["3000", "job.progress"]

    assert len(httpx2.get(f"{url}/jobs/{job_id}/events", timeout=120).json()["data"]) == 1


def test_progress_is_told_at_most_so_often(api: FastAPI, url: str, database: Database) -> None:
    api.state.live = Live(database, Times(poll=0.02, progress=3600, comment=3600))
    job_id = a_story(database, 1)
    at_work(database, job_id, 1)

    with stream(f"{url}/jobs/{job_id}/events") as said:
        assert [next(said).event for _ in range(3)] == [None, "job.warning", "job.progress"]
        for done in range(2, 12):
            at_work(database, job_id, done)
        tell(database, job_id, ["job.warning"])
        assert next(said).event == "job.warning"


def test_a_stream_that_has_nothing_to_say_shows_that_it_lives(
    api: FastAPI, url: str, database: Database
) -> None:
    api.state.live = Live(database, Times(poll=0.02, comment=0.05))
    job_id = a_story(database, 1)

    with stream(f"{url}/jobs/{job_id}/events", after="1") as said:
        assert [next(said).comment for _ in range(3)] == [None, "still here", "still here"]


def test_a_client_that_goes_away_leaves_nothing_behind(api: FastAPI, url: str, database: Database) -> None:
    job_id = a_story(database, 1)
    live = api.state.live

    with (
        stream(f"{url}/jobs/{job_id}/events") as first,
        stream(f"{url}/jobs/{job_id}/events") as second,
    ):
        assert numbers(first, last=1) == numbers(second, last=1) == [1]
        assert live.open == 2
        assert live.watched == {job_id}

    assert soon(lambda: live.open == 0 and not live.watched)


def test_a_client_that_does_not_read_holds_up_nobody_and_can_go_away(
    api: FastAPI, url: str, database: Database
) -> None:
    job_id, live = a_job(database), api.state.live
    tell(database, job_id, ["long " * 1600] * 1000)  # more than fits between client and server
    end(database, job_id)
    asked = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"

    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as lazy:
        lazy.sendall(asked.encode())
        assert soon(lambda: live.open == 1)
        with stream(f"{url}/jobs/{job_id}/events") as said:
            assert numbers(said) == list(range(1, 1002))
        assert soon(lambda: live.open == 1)
        assert live.watched == {job_id}

    assert soon(lambda: live.open == 0)


def test_a_job_that_is_deleted_ends_its_streams(url: str, database: Database) -> None:
    job_id = a_story(database, 1)

    with stream(f"{url}/jobs/{job_id}/events") as said:
        assert numbers(said, last=1) == [1]
        with database.begin() as session:
            session.execute(delete(Job).where(Job.id == job_id))
        assert list(said) == []


def test_more_streams_than_allowed_are_refused_for_now(
    url: str, api: FastAPI, database: Database, settings: Settings
) -> None:
    api.state.settings = settings.model_copy(update={"max_streams": 1})
    job_id = a_story(database, 1)

    with stream(f"{url}/jobs/{job_id}/events") as said:
        assert numbers(said, last=1) == [1]
        answer = httpx2.get(f"{url}/jobs/{job_id}/events", headers=STREAM, timeout=120)

    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("harm", ["revoked", "expired", "narrowed"])
def test_a_key_that_is_good_no_more_ends_its_streams(
    database: Database, store: LocalStore, dispatcher: ListeningDispatcher, settings: Settings, harm: str
) -> None:
    strict = settings.model_copy(update={"auth": AuthMode.REQUIRED, "key_cache": timedelta(0)})
    api = build_app(database, store, dispatcher, strict)
    api.state.live = Live(database, Times(poll=0.02, comment=0.05))
    key = a_key(database)
    job_id = a_story(database, 1)
    values: dict[str, dict[str, Any]] = {
        "revoked": {"revoked_at": utc_now()},
        "expired": {"expires_at": utc_now()},
        "narrowed": {"scopes": [Scope.WRITE]},
    }

    with (
        listening(api) as url,
        stream(f"{url}/jobs/{job_id}/events", Authorization=f"Bearer {key.secret}") as said,
    ):
        assert numbers(said, last=1) == [1]
        assert next(said).comment
        with database.begin() as session:
            session.execute(update(ApiKey).where(ApiKey.id == key.id).values(values[harm]))
        assert {message.comment for message in said} <= {"still here"}
        answer = httpx2.get(f"{url}/jobs", headers={"Authorization": f"Bearer {key.secret}"}, timeout=120)
        assert answer.status_code in {401, 403}


class AwayForAWhile(Database):
    """A database that can be out of reach."""

    away = False
    missed = 0

    @contextmanager
    def read(self) -> Generator[Session]:
        if self.away:
            self.missed += 1
            raise OperationalError("SELECT", {}, Exception("the connection was lost"))
        with super().read() as session:
            yield session


def test_a_stream_outlasts_a_database_that_is_away(api: FastAPI, url: str, database: Database) -> None:
    fragile = AwayForAWhile(database.engine)
    api.state.live = Live(fragile, SOON)
    job_id = a_story(database, 1)

    with stream(f"{url}/jobs/{job_id}/events") as said:
        assert numbers(said, last=1) == [1]
        fragile.away = True
        tell(database, job_id, ["job.warning"])
        assert soon(lambda: fragile.missed > 1)
        fragile.away = False
        tell(database, job_id, ["job.warning"])
        assert numbers(said, last=3) == [2, 3]


def test_a_list_of_events_can_begin_behind_a_number(client: TestClient, database: Database) -> None:
    job_id = a_story(database, 5)

    page = client.get(f"/jobs/{job_id}/events?after=3&limit=1").json()

    assert [event["seq"] for event in page["data"]] == [4]
    rest = client.get(f"/jobs/{job_id}/events?after=3&cursor={page['next_cursor']}").json()
    assert [event["seq"] for event in rest["data"]] == [5]
