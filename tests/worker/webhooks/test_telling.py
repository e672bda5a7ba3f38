"""Which events are told to whom, and what is said of them."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.access import Scope
from app.clock import utc_now
from app.events.models import Event
from app.events.repository import NewEvent
from app.jobs import leases
from app.jobs import repository as jobs
from app.jobs import service as job_service
from app.jobs.models import Job
from app.projects import service as projects
from app.projects.models import DEFAULT_PROJECT, Project
from app.releases.service import delete_adapter
from app.storage import LocalStore
from app.webhooks import outbox
from app.webhooks.states import DeliveryStatus
from tests.app.published import a_published_job
from tests.factories import NOW, a_fact_set, a_job
from tests.worker.receiver import Receiver
from tests.worker.webhooks.desk import Desk


def test_the_end_of_a_job_comes_signed_and_says_little(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "job.cancelled")
    job_id = desk.cancelled_job()

    desk.work()

    (message,) = receiver.messages(hook.secret)
    with desk.database.read() as session:
        event = session.scalars(select(Event).where(Event.type == "job.cancelled")).one()
    assert message == {
        "type": "job.cancelled",
        "created_at": "2026-11-24T10:00:00Z",
        "data": {"id": job_id, "job_id": job_id, "event_id": event.id, "seq": event.seq, "attempt": 0},
    }
    delivery = desk.delivery(hook.id)
    assert (delivery.status, delivery.tries, delivery.response_status) == (DeliveryStatus.DELIVERED, 1, 204)
    assert (delivery.next_try_at, delivery.finished_at, delivery.error) == (None, NOW, None)
    (got,) = receiver.got
    assert (got.path, got.headers["webhook-id"]) == ("/hook", delivery.id)
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Verifier(hook.secret).verify(got.body + b" ", got.headers)


def test_nothing_is_sent_twice_when_all_is_well(desk: Desk, receiver: Receiver) -> None:
    desk.hook(receiver.url)
    desk.cancelled_job()

    for _ in range(3):
        desk.work()
        desk.later(hours=1)

    assert len(receiver.got) == 1


def test_each_endpoint_gets_what_it_asked_for(desk: Desk, receiver: Receiver) -> None:
    wanted = {
        name: desk.hook(receiver.url, *events).id
        for name, events in {
            "one": ["job.cancelled"],
            "kind": ["job.*"],
            "all": ["*"],
            "other": ["job.failed", "adapter.*", "evaluation.*"],
        }.items()
    }
    off = desk.hook(receiver.url, "*", enabled=False)

    desk.cancelled_job()
    desk.work()

    assert {name: len(desk.deliveries(hook)) for name, hook in wanted.items()} == {
        "one": 1,
        "kind": 1,
        "all": 1,
        "other": 0,
    }
    assert desk.deliveries(off.id) == []


def test_other_projects_hear_nothing(desk: Desk, receiver: Receiver) -> None:
    key = projects.create_key_for(
        desk.database, utc_now, project_name="others", name="k", scopes=[Scope.READ]
    )
    theirs = desk.hook(receiver.url, "*", project_id=key.project_id)

    desk.cancelled_job()
    desk.work()
    assert receiver.got == []

    with desk.database.begin() as session:  # what belongs to a deleted project is sent nowhere
        session.execute(update(Project).where(Project.id == key.project_id).values(deleted_at=NOW))
    fact_set = a_fact_set(desk.database, project_id=key.project_id)
    desk.cancelled_job(fact_set_id=fact_set.id, project_id=key.project_id)
    desk.work()
    assert desk.deliveries(theirs.id) == []


def test_what_happened_before_an_endpoint_was_made_is_not_sent(desk: Desk, receiver: Receiver) -> None:
    desk.cancelled_job()
    desk.later(seconds=1)
    hook = desk.hook(receiver.url, "*")

    desk.work()

    assert desk.deliveries(hook.id) == []


def test_events_of_adapters_and_gates_name_the_adapter(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "adapter.*", "job.gate_failed")
    job_id = a_job(desk.database)
    with desk.database.begin() as session:
        released = NewEvent("adapter.released", "let go", data={"adapter_id": "adp_1"})
        jobs.tell(session, job_id, [NewEvent("job.gate_failed", "lost"), released], now=desk.now)

    desk.work()

    said = [(message["type"], message["data"]["id"]) for message in receiver.messages(hook.secret)]
    assert sorted(said) == [("adapter.released", "adp_1"), ("job.gate_failed", job_id)]


def test_whoever_asked_for_it_hears_of_the_end_of_an_adapter(
    desk: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    hook = desk.hook(receiver.url, "adapter.deleted")
    made = a_published_job(desk.database, LocalStore(tmp_path))
    desk.later(seconds=1)
    delete_adapter(desk.database, project_id=DEFAULT_PROJECT, adapter_id=made.adapter_id)

    desk.work()

    (message,) = receiver.messages(hook.secret)
    assert (message["type"], message["data"]["id"]) == ("adapter.deleted", made.adapter_id)


def test_an_event_whose_transaction_ends_late_is_not_skipped(desk: Desk, receiver: Receiver) -> None:
    """Its id is older than what was looked at, as of a transaction that had taken it long before."""
    hook = desk.hook(receiver.url, "job.*")
    early, late = a_job(desk.database), a_job(desk.database)
    told = [NewEvent("job.warning", "look out")]
    with desk.database.begin() as session:
        jobs.tell(session, early, told, now=NOW + timedelta(seconds=5))
    desk.work()

    with desk.database.begin() as session:
        jobs.tell(session, late, told, now=NOW)
    desk.work()

    assert [message["data"]["id"] for message in receiver.messages(hook.secret)] == [early, late]


def test_the_end_of_a_job_that_is_deleted_at_once_is_still_told(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "job.cancelled")
    job_id = desk.cancelled_job()
    job_service.delete_job(desk.database, project_id=DEFAULT_PROJECT, job_id=job_id)

    desk.work()

    assert [message["data"]["id"] for message in receiver.messages(hook.secret)] == [job_id]
    with desk.database.read() as session:
        assert session.scalars(select(Job)).all() == []


def test_an_event_and_its_messages_are_noted_together_or_not_at_all(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()

    def die() -> None:
        with desk.database.begin() as session:
            assert outbox.note_some(session, now=desk.now) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert desk.deliveries(hook.id) == []

    desk.work()
    assert len(receiver.got) == 1


def test_a_reaped_job_is_told_of_too(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "job.failed", "job.started")
    job_id = a_job(desk.database, attempt_limit=1, next_run_at=NOW)
    with desk.database.begin() as session:
        leases.claim(session, queue="gpu", owner="me", version=9, now=NOW, lease=timedelta(seconds=-1))
        failure = leases.Failure("system", "worker_lost", "gone", retryable=True)
        leases.reap(session, now=NOW + timedelta(seconds=1), failure=failure, backoff=timedelta(0))
    desk.later(seconds=1)

    desk.work()

    kinds = [(message["type"], message["data"]["id"]) for message in receiver.messages(hook.secret)]
    assert sorted(kinds) == [("job.failed", job_id), ("job.started", job_id)]
