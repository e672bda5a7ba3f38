"""Messages that do not arrive: when they are tried again, and when they are given up."""

from datetime import timedelta

import pytest
from standardwebhooks import Webhook as Verifier

from app.webhooks import sending
from app.webhooks.states import DeliveryStatus, DisabledReason, WebhookStatus
from tests.factories import NOW
from tests.worker.receiver import Answer, Receiver
from tests.worker.webhooks.desk import LOOPBACK, PATIENCE, Desk
from worker.webhooks.posting import Poster


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


def test_a_mistake_of_ours_counts_as_a_try(desk: Desk) -> None:
    class Broken(Poster):
        def post(self, parcel: sending.Parcel) -> sending.Outcome:
            raise RuntimeError("a bug")

    hook = desk.hook("http://127.0.0.1:1/")
    desk.cancelled_job()

    desk.work(desk.another(poster=Broken(LOOPBACK, timeout=timedelta(seconds=PATIENCE))))

    delivery = desk.delivery(hook.id)
    assert (delivery.status, delivery.next_try_at) == ("pending", NOW + timedelta(seconds=5))
    assert delivery.error == "not sent: the log of the sweeper says why"
