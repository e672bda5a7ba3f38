"""A worker that hears nothing although its broker takes messages is deaf, and ends so as to be started anew.

After a broker was away Celery has more than once stopped to listen without an error. So each worker
sends itself a message now and then, and looks whether it comes.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

DEAF: Final = 70
"""Exit status of a worker that has ended because it was deaf."""

_SHORTEST_PATIENCE: Final = 30.0


class Canary:
    """Notices deafness while the worker is idle: a busy one does not listen."""

    def __init__(
        self,
        send: Callable[[], bool],
        is_busy: Callable[[], bool],
        end: Callable[[], None],
        *,
        hint: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set it up; `start` begins.

        Args:
            send: Sends the worker a message. False if the broker does not take it.
            is_busy: Says whether the worker has a job.
            end: Has the worker end. Called once.
            hint: Seconds between two hints for a queue. A message is sent every two of these times,
                and the worker is deaf after six.
        """
        self._send = send
        self._is_busy = is_busy
        self._end = end
        self._every = 2 * hint
        self._patience = max(6 * hint, _SHORTEST_PATIENCE)
        self._clock = clock
        self._sent_at = clock()
        self._silent_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def heard(self) -> None:
        """Note that a message has come, whatever it says."""
        self._silent_since = None

    def look(self) -> bool:
        """Send a message if it is time. True if the worker is deaf."""
        now = self._clock()
        if self._is_busy():
            self._silent_since = None
        elif now - self._sent_at >= self._every:
            self._sent_at = now
            began = now if self._silent_since is None else self._silent_since
            self._silent_since = began  # before it is sent: the answer may be quick
            if not self._send():
                self._silent_since = None
        silent_since = self._silent_since
        return silent_since is not None and now - silent_since > self._patience

    def _run(self) -> None:
        while not self.look():
            time.sleep(min(1.0, self._every))
        log.error("worker.deaf", seconds=self._patience)
        self._end()
