"""Keeping one attempt alive, and ending it when it must end."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

import structlog

from app.db.engine import Database
from app.jobs import leases
from app.jobs.leases import Beat, Claim
from app.jobs.states import JobStatus
from app.settings import Settings
from worker import oom
from worker.child import Child
from worker.failures import KILLED
from worker.transactions import TRANSIENT

log = structlog.get_logger(__name__)

_TICK: Final = 0.2
_LOOK: Final = 1.0
"""Seconds between two looks at what the user wants: they bound how long a cancel takes."""

_FENCE_SHARE: Final = 0.8
"""Share of the lease after which an owner that got no answer stops by itself."""


class Cause(Enum):
    """Why we ended the runner, if we did."""

    LEASE_LOST = auto()
    STALLED = auto()
    ASKED = auto()
    """It was asked to stop, and killed if it did not in time. That is no crash."""
    SELF_FENCED = auto()
    OUT_OF_HOST_MEMORY = auto()
    """It was not we who ended it, but the kernel, which needed the memory."""


@dataclass(frozen=True, slots=True)
class Ending:
    code: int
    cause: Cause | None


class SelfFence:
    """Kills the runner unless a heartbeat is confirmed in time.

    The owner so stops before anybody else can claim the job, even if the thread that beats
    hangs in a call to a frozen database: this one does nothing but wait.
    """

    def __init__(self, limit: float, confirmed_at: float, kill: Callable[[], None]) -> None:
        self.fired = False
        self._limit = limit
        self._deadline = confirmed_at + limit
        self._kill = kill
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="self-fence", daemon=True)

    def confirm(self, sent_at: float) -> None:
        """Note that a heartbeat was answered that had been sent at this time."""
        self._deadline = sent_at + self._limit

    def _wait(self) -> None:
        while (left := self._deadline - time.monotonic()) > 0:
            if self._done.wait(left):
                return
        self.fired = True
        self._kill()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()


class Watch:
    """Beats for a runner until it has ended."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claim: Claim,
        child: Child,
        *,
        claimed_at: float,
        stop: Callable[[], bool],
    ) -> None:
        """Watch over `child`. `claimed_at` is the monotonic time just before the claim was sent."""
        self._database = database
        self._settings = settings
        self._claim = claim
        self._child = child
        self._stop = stop
        self._heartbeat = settings.heartbeat.total_seconds()
        self._fence = SelfFence(settings.lease.total_seconds() * _FENCE_SHARE, claimed_at, child.kill)
        self._next_beat = claimed_at + self._heartbeat
        self._next_look = claimed_at
        self._moved_at = claimed_at
        self._last: Beat | None = None
        self._kill_at: float | None = None
        self._cause: Cause | None = None

    def run(self) -> Ending:
        """Return how the runner ended."""
        kills = oom.kills()
        with self._fence:
            while (code := self._child.wait(_TICK)) is None:
                self._tick(time.monotonic())
        if self._fence.fired:
            return Ending(code, Cause.SELF_FENCED)
        if self._cause is None and code in KILLED and kills is not None and (oom.kills() or 0) > kills:
            return Ending(code, Cause.OUT_OF_HOST_MEMORY)
        return Ending(code, self._cause)

    def _tick(self, now: float) -> None:
        if now >= min(self._next_beat, self._next_look):
            self._ask(now, beat=now >= self._next_beat)
        wanted = self._last is not None and self._last.status is not JobStatus.RUNNING
        if self._kill_at is None and (wanted or self._stop()):
            self._cause = self._cause or Cause.ASKED
            self._kill_at = now + self._settings.grace.total_seconds()
            self._child.terminate()
        if self._kill_at is not None and now >= self._kill_at:
            self._child.kill()
        if now - self._moved_at > self._settings.stall.total_seconds():
            self._end(Cause.STALLED)

    def _ask(self, now: float, *, beat: bool) -> None:
        """Learn how the job stands, and renew the lease if it is time."""
        try:
            answer = self._beat() if beat else self._look()
        except TRANSIENT as error:
            log.warning("job.heartbeat_failed", job_id=self._claim.job_id, error=type(error).__name__)
            self._next_beat = self._next_look = now + min(_LOOK, self._heartbeat)
            return
        self._next_look = now + _LOOK
        if beat:
            self._fence.confirm(now)
            self._next_beat = now + self._heartbeat
        if answer is None:
            self._part(now)
        elif self._last is None or answer.progress_at > self._last.progress_at:
            self._moved_at = now
        self._last = answer or self._last

    def _part(self, now: float) -> None:
        """End a runner whose job is not ours any more. One that has published it ends by itself."""
        if not self._is_published():
            self._end(Cause.LEASE_LOST)
        elif self._kill_at is None:
            self._kill_at = now + self._settings.grace.total_seconds()

    def _is_published(self) -> bool:
        try:
            with self._database.read() as session:
                return leases.is_published(session, self._claim.job_id, self._claim.fence)
        except TRANSIENT:
            return False

    def _beat(self) -> Beat | None:
        with self._database.begin() as session:
            now, lease = self._database.now(session), self._settings.lease
            return leases.beat(session, self._claim.job_id, self._claim.fence, now=now, lease=lease)

    def _look(self) -> Beat | None:
        with self._database.read() as session:
            return leases.look(session, self._claim.job_id, self._claim.fence)

    def _end(self, cause: Cause) -> None:
        self._cause = cause
        self._child.kill()
