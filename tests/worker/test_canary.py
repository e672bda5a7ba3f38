"""When a worker is taken for deaf."""

import pytest

from worker.canary import Canary


class Broker:
    """Takes messages, and brings them or not."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_there, self.brings, self.busy = True, True, False
        self.canary = Canary(self.send, lambda: self.busy, lambda: None, hint=30, clock=lambda: self.now)

    def send(self) -> bool:
        if self.is_there and self.brings:
            self.canary.heard()
        return self.is_there

    def deaf_after(self, seconds: int) -> bool:
        for _ in range(seconds):
            self.now += 1
            if self.canary.look():
                return True
        return False


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_a_worker_that_hears_its_messages_is_not_deaf(broker: Broker) -> None:
    assert not broker.deaf_after(1000)


def test_a_worker_that_hears_nothing_for_three_minutes_is_deaf(broker: Broker) -> None:
    broker.brings = False

    assert not broker.deaf_after(60 + 179)
    assert broker.deaf_after(10)


def test_a_broker_that_is_away_makes_nobody_deaf(broker: Broker) -> None:
    broker.is_there = broker.brings = False
    assert not broker.deaf_after(1000)

    broker.is_there = broker.brings = True
    assert not broker.deaf_after(1000)


def test_a_busy_worker_does_not_listen_and_need_not(broker: Broker) -> None:
    broker.brings, broker.busy = False, True
    assert not broker.deaf_after(1000)

    broker.brings, broker.busy = True, False
    assert not broker.deaf_after(1000)
