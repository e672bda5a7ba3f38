"""How many requests a caller may make in a minute. A minute begins with the clock's."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.access import RateLimitedError
from app.queue import KEY_PREFIX

log = structlog.get_logger(__name__)

WINDOW: Final = 60
"""Seconds."""
REST: Final = 10.0
"""Seconds without counting after Redis did not answer: callers wait in vain once, not each time."""
_TIMEOUT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of a caller's minute."""

    limit: int
    remaining: int
    seconds_left: int

    def headers(self) -> dict[str, str]:
        """Return it as the draft `ratelimit-headers` of the IETF has it."""
        return {
            "RateLimit-Policy": f'"requests";q={self.limit};w={WINDOW}',
            "RateLimit": f'"requests";r={self.remaining};t={self.seconds_left}',
        }


class RateLimiter:
    """Counts in Redis, for all processes together, or in the memory of this one.

    One round trip a request: the count of a minute is a key that expires. While Redis is away
    nobody is refused: the service does not depend on it.
    """

    def __init__(
        self, limit: int, redis_url: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Count up to `limit` requests a minute; 0 counts nothing. Does not connect yet."""
        self._limit = limit
        self._clock = clock
        self._rest_until = 0.0
        self._pool = _pool_of(redis_url) if redis_url and limit else None
        self._storage: MemoryStorage | RedisStorage = MemoryStorage()
        if self._pool is not None:
            self._storage = RedisStorage(
                redis_url or "",
                connection_pool=self._pool,
                key_prefix=f"{KEY_PREFIX}rate",
                wrap_exceptions=True,
            )

    @property
    def waits(self) -> bool:
        """Whether `hit` may have to wait for a server."""
        return self._pool is not None

    def close(self) -> None:
        """Let go of the connections. They come back if they are needed."""
        if self._pool is not None:
            self._pool.disconnect()

    def hit(self, who: str) -> Window | None:
        """Count a request of `who`. None if nothing is counted.

        Raises:
            RateLimitedError: It is one too many.
        """
        now = self._clock()
        if self._limit == 0 or now < self._rest_until:
            return None
        minute, passed = divmod(now, WINDOW)
        try:
            count = self._storage.incr(f"{who}/{int(minute)}", WINDOW)
        except StorageError as error:
            self._rest_until = now + REST
            log.warning("rate_limit.not_counted", error=type(error.storage_error).__name__)
            return None
        seconds_left = math.ceil(WINDOW - passed)
        if count > self._limit:
            raise RateLimitedError(self._limit, seconds_left)
        return Window(self._limit, self._limit - count, seconds_left)


def _pool_of(url: str) -> ConnectionPool:
    """Return connections that give up soon and try once: a request waits for them."""
    return ConnectionPool.from_url(
        url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
    )
