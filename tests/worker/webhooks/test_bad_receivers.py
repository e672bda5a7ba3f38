"""Receivers that mean ill, or do not answer as they should."""

import threading
import time
from io import BufferedIOBase

from app.webhooks.addresses import Rules
from app.webhooks.states import DeliveryStatus
from tests.worker.receiver import Answer, Receiver, receiving
from tests.worker.webhooks.desk import Desk
from worker.webhooks.posting import KEPT


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

    desk.work()

    delivery = desk.delivery(hook.id)
    assert delivery.status == "delivered"
    assert delivery.log[0].response == "\ufffd\ufffd" + "a" * (KEPT - 2)
    assert ended.wait(300)
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
        slow.answers = [Answer(before=lambda: go_on.wait(900))]
        dawdler = desk.hook(slow.url)
        for _ in range(6):
            desk.cancelled_job()
        patient = desk.another(timeout=900, lanes=4)  # fewer than what waits for the slow one
        patient.tick()
        hook = desk.hook(receiver.url)
        desk.later(seconds=1)
        desk.cancelled_job()

        try:
            deadline = time.monotonic() + 300
            while not receiver.got:
                assert time.monotonic() < deadline, "nothing came through"
                patient.tick()

            assert len(slow.got) <= 2
            assert len(desk.deliveries(hook.id)) == 1
            assert {row.status for row in desk.deliveries(dawdler.id)} == {DeliveryStatus.PENDING}
        finally:
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


def test_an_endpoint_that_became_forbidden_is_not_connected_to(desk: Desk, receiver: Receiver) -> None:
    hook = desk.hook(receiver.url)
    desk.cancelled_job()

    desk.work(desk.another(rules=Rules(http=True)))

    assert receiver.got == []
    error = desk.delivery(hook.id).error
    assert error is not None
    assert error.startswith("address_refused: ")
