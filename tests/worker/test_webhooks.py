"""Webhooks from the event to the receiver: real requests to a real server, with a clock of our own."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from datetime import timedelta
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.access import Scope
from app.clock import utc_now
from app.db.engine import Database
from app.events.models import Event
from app.events.repository import NewEvent
from app.ids import DeliveryId, JobId, ProjectId, WebhookId
from app.jobs import leases
from app.jobs import repository as jobs
from app.jobs import service as job_service
from app.jobs.models import Job
from app.jobs.states import Action
from app.projects import service as projects
from app.projects.models import DEFAULT_PROJECT, Project
from app.releases.service import delete_adapter
from app.storage import LocalStore
from app.webhooks import outbox, sending, service
from app.webhooks.addresses import Rules
from app.webhooks.models import Delivery, Webhook
from app.webhooks.schemas import DeliveryDetail, DeliveryRead, WebhookCreate, WebhookCreated, WebhookUpdate
from app.webhooks.states import DeliveryStatus, DisabledReason, WebhookStatus
from tests.app.published import a_published_job
from tests.factories import NOW, a_fact_set, a_job
from tests.worker.receiver import Answer, Receiver, receiving
from worker.housekeeping import clear_deliveries
from worker.webhooks.posting import KEPT, Poster
from worker.webhooks.postman import LANES, LANES_OF_ONE, Postman

T = TypeVar("T")

LOOPBACK = Rules(("127.0.0.0/8",), http=True)
GIVE_UP = timedelta(days=3)


class Desk:
    """A postman, and a clock that only moves when it is told to."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.database = Database(database.engine, clock=lambda: self.now)
        self.postmen: list[Postman] = []
        self.postman = self.another()

    def another(
        self, *, rules: Rules = LOOPBACK, timeout: float = 5.0, lanes: int = LANES, chance: float = 0.0
    ) -> Postman:
        poster = Poster(rules, timeout=timedelta(seconds=timeout))
        self.postmen.append(
            Postman(self.database, poster, give_up=GIVE_UP, lanes=lanes, chance=lambda: chance)
        )
        return self.postmen[-1]

    def work(self, postman: Postman | None = None) -> None:
        """Send what is due, and wait for it."""
        postman = postman or self.postman
        postman.tick()
        postman.settle()

    def later(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    def hook(
        self, url: str, *events: str, project_id: ProjectId = DEFAULT_PROJECT, enabled: bool = True
    ) -> WebhookCreated:
        request = WebhookCreate(url=url, events=list(events or ("job.*",)), enabled=enabled)
        return service.create_webhook(
            self.database, project_id=project_id, request=request, check_url=lambda _: None
        )

    def cancelled_job(self, **values: Any) -> JobId:
        """A job whose story ends with one event: that it was cancelled."""
        job_id = a_job(self.database, **values)
        with self.database.begin() as session:
            project_id = session.scalars(select(Job.project_id).where(Job.id == job_id)).one()
            jobs.act(session, job_id, Action.CANCEL, project_id=project_id, now=self.now)
        return job_id

    def deliveries(self, webhook_id: WebhookId) -> list[Delivery]:
        with self.database.read() as session:
            statement = select(Delivery).where(Delivery.webhook_id == webhook_id)
            return list(session.scalars(statement.order_by(Delivery.id)))

    def delivery(self, webhook_id: WebhookId) -> DeliveryDetail:
        (row,) = self.deliveries(webhook_id)
        return self.detail(row.id)

    def detail(self, delivery_id: DeliveryId) -> DeliveryDetail:
        return service.get_delivery(self.database, project_id=DEFAULT_PROJECT, delivery_id=delivery_id)

    def webhook(self, webhook_id: WebhookId) -> Webhook:
        with self.database.read() as session:
            return session.scalars(select(Webhook).where(Webhook.id == webhook_id)).one()

    def redeliver(self, delivery_id: DeliveryId) -> DeliveryRead:
        return service.redeliver(self.database, project_id=DEFAULT_PROJECT, delivery_id=delivery_id)

    def update(self, webhook_id: WebhookId, **changes: Any) -> None:
        service.update_webhook(
            self.database,
            project_id=DEFAULT_PROJECT,
            webhook_id=webhook_id,
            request=WebhookUpdate(**changes),
            check_url=lambda _: None,
        )


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    desk = Desk(database)
    yield desk
    for postman in desk.postmen:
        postman.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


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


def test_a_receiver_that_fails_is_tried_again_with_longer_and_longer_pauses(
    desk: Desk, receiver: Receiver
) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answer(500, body=b"out of order"), Answer(503), Answer(200, body=b"thanks")]
    desk.cancelled_job()

    desk.work()
    first = desk.delivery(hook.id)
    assert (first.status, first.response_status, first.error) == ("pending", 500, "answered 500")
    assert first.next_try_at == NOW + timedelta(seconds=5)
    assert desk.webhook(hook.id).status is WebhookStatus.FAILING
    desk.work()
    assert len(receiver.got) == 1  # not before its time

    desk.later(seconds=5)
    desk.work()
    assert desk.delivery(hook.id).next_try_at == desk.now + timedelta(seconds=60)
    desk.later(seconds=60)
    desk.work()

    last = desk.delivery(hook.id)
    assert (last.status, last.tries, last.error) == ("delivered", 3, None)
    assert [(line.number, line.response_status, line.response) for line in last.log] == [
        (3, 200, "thanks"),
        (2, 503, ""),
        (1, 500, "out of order"),
    ]
    assert len(set(receiver.ids())) == 1  # the same message each time
    assert len({got.body for got in receiver.got}) == 1
    assert receiver.messages(hook.secret)
    assert desk.webhook(hook.id).status is WebhookStatus.ACTIVE


def test_a_message_is_given_up_after_two_days_and_a_webhook_that_failed_for_long_is_disabled(
    desk: Desk, receiver: Receiver
) -> None:
    hook = desk.hook(receiver.url)
    watcher = desk.hook(receiver.url.replace("/hook", "/watch"), "webhook.disabled")
    receiver.answers = [Answer(500)]
    desk.cancelled_job()
    for pause in (timedelta(0), *sending.PAUSES):
        desk.now += pause
        desk.work()
    given_up = desk.delivery(hook.id)
    assert (given_up.status, given_up.tries) == ("failed", 10)
    assert timedelta(hours=24) < desk.now - NOW < timedelta(hours=72)
    assert desk.webhook(hook.id).status is WebhookStatus.FAILING  # not for long enough yet

    desk.cancelled_job()
    for pause in (timedelta(0), *sending.PAUSES):
        desk.now += pause
        desk.work()

    disabled = desk.webhook(hook.id)
    assert (disabled.status, disabled.disabled_reason) == (WebhookStatus.DISABLED, DisabledReason.FAILING)
    assert disabled.failing_since == NOW
    receiver.answers = [Answer()]
    before = len(receiver.got)
    desk.cancelled_job()
    desk.work()
    (told,) = receiver.got[before:]  # the other endpoint
    message = Verifier(watcher.secret).verify(told.body, told.headers)
    assert (told.path, message["type"]) == ("/watch", "webhook.disabled")
    assert message["data"] == {"id": hook.id, "reason": "failing"}

    desk.update(hook.id, enabled=True)
    assert desk.webhook(hook.id).status is WebhookStatus.ACTIVE
    desk.cancelled_job()
    desk.work()
    assert desk.deliveries(hook.id)[-1].status is DeliveryStatus.DELIVERED


def test_pauses_are_spread_by_chance(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answer(500)]
    desk.cancelled_job()

    desk.work(desk.another(chance=1.0))

    assert desk.delivery(hook.id).next_try_at == NOW + timedelta(seconds=6)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("120", 120, 120),
        ("1", 5, 5),  # never sooner than without
        ("999999", 86_400, 86_400),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 5, 5),
        ("soon", 5, 5),
        ("-5", 5, 5),
        ("9" * 5000, 5, 5),
    ],
)
def test_a_receiver_may_ask_to_be_left_alone_for_a_while(
    desk: Desk, receiver: Receiver, said: str, least: int, most: int
) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answer(429, {"Retry-After": said})]
    desk.cancelled_job()

    desk.work()

    next_try_at = desk.delivery(hook.id).next_try_at
    assert next_try_at is not None
    assert least <= (next_try_at - NOW).total_seconds() <= most


def test_a_receiver_that_says_gone_is_disabled_at_once(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    receiver.answers = [Answer(500), Answer(410)]
    desk.cancelled_job()
    desk.work()
    desk.later(seconds=1)
    desk.cancelled_job()

    desk.work()

    gone = desk.webhook(hook.id)
    assert (gone.status, gone.disabled_reason, gone.disabled_at) == ("disabled", "gone", desk.now)
    first, second = desk.deliveries(hook.id)
    assert (first.status, first.error) == ("failed", "the webhook was disabled")
    assert (second.status, second.error) == ("failed", "answered 410")
    desk.later(days=1)
    desk.work()
    assert len(receiver.got) == 2


def test_redirects_are_not_followed(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    with receiving() as inside:
        receiver.answers = [Answer(307, {"Location": inside.url})]
        desk.cancelled_job()

        desk.work()

        assert inside.got == []
    assert desk.delivery(hook.id).error == "answered 307; redirects are not followed"


def test_of_an_endless_answer_only_the_beginning_is_read(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    written, ended = [0], threading.Event()

    def flood(stream: BufferedIOBase) -> None:
        try:
            while written[0] < 30_000_000:
                written[0] += stream.write(b"a" * 100_000)
        finally:
            ended.set()

    receiver.answers = [Answer(200, body=b"\x00\xff", goes_on=flood)]
    desk.cancelled_job()

    desk.work(desk.another(timeout=60))

    delivery = desk.delivery(hook.id)
    assert delivery.status == "delivered"
    assert delivery.log[0].response == "\ufffd\ufffd" + "a" * (KEPT - 2)
    assert ended.wait(60)
    assert written[0] < 30_000_000, "it hung up before the end"


def test_a_receiver_that_is_gone_is_an_error_like_others(desk: Desk) -> None:
    with receiving() as receiver:
        hook = desk.hook(receiver.url)
    desk.cancelled_job()

    desk.work()

    delivery = desk.delivery(hook.id)
    assert (delivery.status, delivery.response_status) == ("pending", None)
    assert delivery.error is not None
    assert "ConnectError" in delivery.error


def test_a_receiver_that_dawdles_is_left_and_does_not_hold_others_up(desk: Desk, receiver: Receiver) -> None:
    go_on = threading.Event()
    with receiving() as slow:
        slow.answers = [Answer(before=lambda: go_on.wait(60))]
        dawdler = desk.hook(slow.url)
        for _ in range(6):
            desk.cancelled_job()
        patient = desk.another(timeout=60, lanes=4)  # fewer than what waits for the slow one
        patient.tick()
        hook = desk.hook(receiver.url)
        desk.later(seconds=1)
        desk.cancelled_job()

        deadline = time.monotonic() + 30
        while not receiver.got:
            assert time.monotonic() < deadline, "nothing came through"
            patient.tick()

        assert len(slow.got) <= 2
        assert len(desk.deliveries(hook.id)) == 1
        assert {row.status for row in desk.deliveries(dawdler.id)} == {DeliveryStatus.PENDING}
        go_on.set()
        patient.settle()
    assert {row.status for row in desk.deliveries(hook.id)} == {DeliveryStatus.DELIVERED}


def test_a_try_ends_in_time_however_the_answer_trickles(desk: Desk, receiver: Receiver) -> None:
    """Each byte comes soon enough; all of them do not."""

    def trickle(stream: BufferedIOBase) -> None:
        for number in range(40):
            stream.write(b"%d" % (number % 10))
            stream.flush()
            time.sleep(0.05)
        stream.write(b"\r\n\r\n")

    hook = desk.hook(receiver.url)
    receiver.answers = [Answer(0, body=b"HTTP/1.1 200 OK\r\nX-Slow: ", goes_on=trickle)]
    desk.cancelled_job()

    desk.work(desk.another(timeout=0.4))

    assert desk.delivery(hook.id).error == "no answer within 0.4 s"


def test_a_sender_that_dies_before_it_wrote_down_leaves_the_message_to_others(
    desk: Desk, receiver: Receiver
) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()
    with desk.database.begin() as session:
        outbox.note_some(session, now=desk.now)
    with desk.database.begin() as session:
        parcel = sending.claim(session, hook.id, now=desk.now)
    assert parcel is not None
    Poster(LOOPBACK, timeout=timedelta(seconds=5)).post(parcel)  # and here it dies

    desk.work()
    assert len(receiver.got) == 1  # it could still be alive
    desk.now += sending.CLAIM
    desk.work()

    assert receiver.ids() == [parcel.delivery_id] * 2
    assert receiver.got[0].body == receiver.got[1].body
    assert desk.delivery(hook.id).status == "delivered"
    with desk.database.begin() as session:  # it was only frozen, and comes too late
        lost = sending.Outcome(seconds=1, error="never mind")
        recorded = sending.record(session, parcel, lost, now=desk.now, give_up=GIVE_UP, chance=0)
    assert recorded is None
    assert (desk.delivery(hook.id).status, desk.delivery(hook.id).error) == ("delivered", None)


def test_senders_that_race_never_hold_the_same_message(desk: Desk) -> None:
    hook = desk.hook("http://127.0.0.1:1/hook")
    for _ in range(12):
        desk.cancelled_job()
    start = threading.Barrier(4)
    claimed: list[str] = []

    def race() -> None:
        start.wait()
        with desk.database.begin() as session:
            outbox.note_some(session, now=desk.now)
        while True:
            with desk.database.begin() as session:
                parcel = sending.claim(session, hook.id, now=desk.now)
            if parcel is None:
                return
            claimed.append(parcel.delivery_id)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (parcel := _claim(desk, hook.id)) is not None:  # what a loser of a race passed over
        claimed.append(parcel.delivery_id)

    assert len(claimed) == len(set(claimed)) == 12


def _claim(desk: Desk, webhook_id: WebhookId) -> sending.Parcel | None:
    with desk.database.begin() as session:
        return sending.claim(session, webhook_id, now=desk.now)


def test_a_message_is_sent_again_when_somebody_asks_for_it(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()
    desk.work()
    delivery_id = desk.delivery(hook.id).id

    asked = desk.redeliver(delivery_id)
    desk.work()

    assert (asked.status, asked.next_try_at) == ("pending", NOW)
    assert receiver.ids() == [delivery_id] * 2
    assert desk.detail(delivery_id).tries == 2

    receiver.answers = [Answer(500)]
    desk.redeliver(delivery_id)
    desk.work()
    assert desk.detail(delivery_id).next_try_at == NOW + timedelta(seconds=5)  # the pauses begin anew
    receiver.answers = [Answer()]
    desk.redeliver(delivery_id)  # without waiting for it
    desk.work()
    assert desk.detail(delivery_id).status == "delivered"


def test_a_message_that_is_on_its_way_is_not_sent_beside_itself(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()
    with desk.database.begin() as session:
        outbox.note_some(session, now=desk.now)
    parcel = _claim(desk, hook.id)
    assert parcel is not None

    desk.redeliver(parcel.delivery_id)
    desk.work()

    assert receiver.got == []
    assert desk.detail(parcel.delivery_id).tries == 1
    failed = sending.Outcome(seconds=1, status=500)
    with desk.database.begin() as session:
        sending.record(session, parcel, failed, now=desk.now, give_up=GIVE_UP, chance=0)
    assert desk.detail(parcel.delivery_id).next_try_at == NOW + timedelta(seconds=5)


def test_a_mistake_of_ours_counts_as_a_try(desk: Desk) -> None:
    class Broken(Poster):
        def post(self, parcel: sending.Parcel) -> sending.Outcome:
            raise RuntimeError("a bug")

    hook = desk.hook("http://127.0.0.1:1/")
    desk.cancelled_job()
    broken = Broken(LOOPBACK, timeout=timedelta(seconds=1))
    desk.postmen.append(Postman(desk.database, broken, give_up=GIVE_UP, chance=lambda: 0.0))

    desk.work(desk.postmen[-1])

    delivery = desk.delivery(hook.id)
    assert (delivery.status, delivery.next_try_at) == ("pending", NOW + timedelta(seconds=5))
    assert delivery.error == "not sent: the log of the sweeper says why"


def test_a_test_is_sent_once_and_decides_nothing(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "job.failed")
    receiver.answers = [Answer(500)]

    asked = service.test_webhook(desk.database, project_id=DEFAULT_PROJECT, webhook_id=hook.id)
    desk.work()
    desk.later(days=2)
    desk.work()

    (message,) = (got.body for got in receiver.got)
    assert desk.detail(asked.id).message.model_dump_json(exclude_none=True).encode() == message
    assert (asked.type, desk.detail(asked.id).status) == ("webhook.test", "failed")
    assert desk.webhook(hook.id).status is WebhookStatus.ACTIVE


def test_both_secrets_sign_until_the_old_one_is_over(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    overlap = timedelta(hours=1)
    fresh = service.rotate_secret(
        desk.database, project_id=DEFAULT_PROJECT, webhook_id=hook.id, overlap=overlap
    )
    assert fresh.old_secret_until == NOW + overlap
    desk.cancelled_job()
    desk.work()
    assert receiver.messages(hook.secret) == receiver.messages(fresh.secret) != []

    desk.later(hours=1)
    desk.cancelled_job()
    desk.work()

    got = receiver.got[-1]
    Verifier(fresh.secret).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(hook.secret).verify(got.body, got.headers)


def test_an_endpoint_that_became_forbidden_is_not_connected_to(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()

    desk.work(desk.another(rules=Rules(http=True)))

    assert receiver.got == []
    error = desk.delivery(hook.id).error
    assert error is not None
    assert error.startswith("address_refused: ")


def test_old_deliveries_are_forgotten(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()
    desk.work()
    receiver.answers = [Answer(500)]
    desk.cancelled_job()
    desk.work()
    desk.later(days=31)

    clear_deliveries(desk.database, keep=timedelta(days=30))

    assert [row.status for row in desk.deliveries(hook.id)] == [DeliveryStatus.PENDING]


def test_a_deleted_endpoint_gets_nothing_and_nothing_breaks(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()
    with desk.database.begin() as session:
        outbox.note_some(session, now=desk.now)
    parcel = _claim(desk, hook.id)
    assert parcel is not None

    service.delete_webhook(desk.database, project_id=DEFAULT_PROJECT, webhook_id=hook.id)

    with desk.database.begin() as session:
        taken = sending.Outcome(seconds=1, status=200)
        assert sending.record(session, parcel, taken, now=desk.now, give_up=GIVE_UP, chance=0) is None
    desk.work()
    assert receiver.got == []


def test_a_reaped_job_is_told_of_too(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url, "job.failed", "job.started")
    job_id = a_job(desk.database, attempt_limit=1, next_run_at=NOW)
    with desk.database.begin() as session:
        leases.claim(session, queue="gpu", owner="me", version=1, now=NOW, lease=timedelta(seconds=-1))
        failure = leases.Failure("system", "worker_lost", "gone", retryable=True)
        leases.reap(session, now=NOW + timedelta(seconds=1), failure=failure, backoff=timedelta(0))
    desk.later(seconds=1)

    desk.work()

    kinds = [(message["type"], message["data"]["id"]) for message in receiver.messages(hook.secret)]
    assert sorted(kinds) == [("job.failed", job_id), ("job.started", job_id)]


class AtOnce(Executor):
    """Has done what it is given before it answers."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_a_lane_that_is_done_at_once_is_given_back(desk: Desk, receiver: Receiver) -> None:
    webhook = desk.hook(receiver.url)
    poster = Poster(LOOPBACK, timeout=timedelta(seconds=5))
    postman = Postman(desk.database, poster, give_up=GIVE_UP, pool=AtOnce())
    for _ in range(LANES_OF_ONE + 1):
        desk.cancelled_job()
        tick = threading.Thread(target=postman.tick, daemon=True)
        tick.start()
        tick.join(60)
        assert not tick.is_alive()

    assert {delivery.status for delivery in desk.deliveries(webhook.id)} == {DeliveryStatus.DELIVERED}
