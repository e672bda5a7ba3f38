"""Connections to Postgres that do not wait for ever.

libpq knows no time limit for a query, and those of the server do not help against a server that is
frozen or out of reach: its machine still acknowledges what is sent. So whoever waits looks at the clock.
"""

import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")

SILENCE: Final = 8.0
"""Seconds without a sign of the server after which a call is given up."""

PING: Final = 2.0
"""The same, when all that is asked is whether the server is there."""


class SilentServerError(psycopg.OperationalError):
    """The server has not answered in time. Whether it did what was asked is not known."""


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose every wait for the server has an end; after it the connection is closed."""

    silence: float = SILENCE
    """Seconds that the server may say nothing."""

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        return super().wait(self._bounded(gen), *arguments, **options)

    def _bounded(self, gen: PQGen[T]) -> Generator[Any, Any, T]:
        """Pass `gen` on, which is told every tenth of a second that nothing has come."""
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.silence:
                    self.pgconn.finish()
                    raise SilentServerError(f"the database said nothing for {self.silence:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: T = end.value
            return answer
