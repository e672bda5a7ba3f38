"""Senders that die, race, or come upon what is gone."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import timedelta
from typing import Any, TypeVar

from app.projects.models import DEFAULT_PROJECT
from app.webhooks import outbox, sending, service
from app.webhooks.states import DeliveryStatus
from tests.factories import NOW
from tests.worker.receiver import Receiver
from tests.worker.webhooks.desk import GIVE_UP, LOOPBACK, PATIENCE, Desk
from worker.webhooks.posting import Poster
from worker.webhooks.postman import LANES_OF_ONE

T = TypeVar("T")


def test_a_sender_that_dies_before_it_wrote_down_leaves_the_message_to_others(
    desk: Desk, receiver: Receiver
) -> None:
    hook = desk.hook(receiver.url)
    parcel = desk.on_its_way(hook.id)
    Poster(LOOPBACK, timeout=timedelta(seconds=PATIENCE)).post(parcel)  # and here it dies

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
            parcel = desk.claim(hook.id)
            if parcel is None:
                return
            claimed.append(parcel.delivery_id)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (parcel := desk.claim(hook.id)) is not None:  # what a loser of a race passed over
        claimed.append(parcel.delivery_id)

    assert len(claimed) == len(set(claimed)) == 12


def test_a_message_that_is_on_its_way_is_not_sent_beside_itself(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    parcel = desk.on_its_way(hook.id)

    desk.redeliver(parcel.delivery_id)
    desk.work()

    assert receiver.got == []
    assert desk.detail(parcel.delivery_id).tries == 1
    failed = sending.Outcome(seconds=1, status=500)
    with desk.database.begin() as session:
        sending.record(session, parcel, failed, now=desk.now, give_up=GIVE_UP, chance=0)
    assert desk.detail(parcel.delivery_id).next_try_at == NOW + timedelta(seconds=5)


def test_a_deleted_endpoint_gets_nothing_and_nothing_breaks(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    parcel = desk.on_its_way(hook.id)

    service.delete_webhook(desk.database, project_id=DEFAULT_PROJECT, webhook_id=hook.id)

    with desk.database.begin() as session:
        taken = sending.Outcome(seconds=1, status=200)
        assert sending.record(session, parcel, taken, now=desk.now, give_up=GIVE_UP, chance=0) is None
    desk.work()
    assert receiver.got == []


class AtOnce(Executor):
    """Has done what it is given before it answers."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_a_lane_that_is_done_at_once_is_given_back(desk: Desk, receiver: Receiver) -> None:
    webhook = desk.hook(receiver.url)
    postman = desk.another(pool=AtOnce())
    for _ in range(LANES_OF_ONE + 1):
        desk.cancelled_job()
        tick = threading.Thread(target=postman.tick, daemon=True)
        tick.start()
        tick.join(300)
        assert not tick.is_alive()

    assert {delivery.status for delivery in desk.deliveries(webhook.id)} == {DeliveryStatus.DELIVERED}
