"""An owner that gets no answer stops by itself. Bounds here are on waiting, not on speed."""

import threading
import time

from worker.watch import SelfFence

LONG = 60.0
PATIENCE = 20.0


def test_a_runner_is_killed_unless_heartbeats_are_answered() -> None:
    killed = threading.Event()

    with SelfFence(0.1, time.monotonic(), killed.set) as fence:
        assert killed.wait(PATIENCE)

    assert fence.fired


def test_time_counts_from_before_the_claim_was_sent() -> None:
    killed = threading.Event()

    with SelfFence(LONG, time.monotonic() - LONG, killed.set):
        assert killed.wait(PATIENCE)


def test_time_counts_from_before_the_last_answered_heartbeat_was_sent() -> None:
    killed = threading.Event()
    almost = time.monotonic() - LONG + 0.2

    with SelfFence(LONG, almost, killed.set) as fence:
        fence.confirm(almost + 0.1)  # its answer took almost as long as it may
        assert killed.wait(PATIENCE)


def test_an_answer_in_time_keeps_the_runner_alive() -> None:
    killed = threading.Event()
    now = time.monotonic()

    with SelfFence(LONG, now - LONG + 2.0, killed.set) as fence:
        fence.confirm(now)
        assert not killed.wait(2.5)

    assert not fence.fired
