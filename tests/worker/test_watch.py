"""An owner that gets no answer stops by itself. Bounds here are on waiting, not on speed."""

import signal
import threading
import time
from datetime import timedelta
from typing import cast

import pytest
from sqlalchemy import Engine, create_engine

from app.db.engine import Database
from app.ids import JobId
from app.jobs.leases import Claim
from app.settings import Settings
from worker.child import Child
from worker.watch import Cause, Ending, SelfFence, Watch

LONG = 3600.0
SOON = 1.0
PATIENCE = 300.0


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
    in_time, fired = answered_soon()
    for _ in range(10):
        if in_time:
            break
        in_time, fired = answered_soon()  # the machine stood still, and the answer came too late

    assert (in_time, fired) == (True, False)


def answered_soon() -> tuple[bool, bool]:
    """Confirm just before the time is over, and wait for longer. Say if that was in time, and if it fired."""
    due = time.monotonic() + SOON
    killed = threading.Event()
    with SelfFence(LONG, due - LONG, killed.set) as fence:
        fence.confirm(time.monotonic())
        in_time = time.monotonic() < due
        killed.wait(SOON + 0.5)
    return in_time, fence.fired


class Runner:
    """One that goes on until it is killed."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def wait(self, seconds: float) -> int | None:
        return -signal.SIGKILL if self.killed.wait(seconds) else None

    def kill(self) -> None:
        self.killed.set()


@pytest.fixture
def away() -> Engine:
    """A database that answers nobody."""
    return create_engine("sqlite:////nowhere/at/all/mixsd.db")


def test_an_owner_without_answers_ends_its_runner_before_its_lease_is_over(away: Engine) -> None:
    settings = Settings(lease=timedelta(hours=10), stall=timedelta(hours=100))
    claimed_at = time.monotonic() - timedelta(hours=9).total_seconds()
    claim, runner = Claim(JobId("job_1"), 1, 1), cast(Child, Runner())

    watch = Watch(Database(away), settings, claim, runner, claimed_at=claimed_at, stop=lambda: False)
    ending = watch.run()

    assert ending == Ending(-signal.SIGKILL, Cause.SELF_FENCED)
