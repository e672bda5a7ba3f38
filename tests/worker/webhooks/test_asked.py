"""What a user may ask of a webhook: to send again, to test, to change its secret."""

from datetime import timedelta

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.projects.models import DEFAULT_PROJECT
from app.webhooks import service
from app.webhooks.states import DeliveryStatus, WebhookStatus
from tests.factories import NOW
from tests.worker.receiver import Answer, Receiver
from tests.worker.webhooks.desk import Desk
from worker.housekeeping import clear_deliveries


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
