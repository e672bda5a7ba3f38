"""How many requests a caller may make in a minute. A minute begins with the clock's."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

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
        self, limit: int, storage: MemoryStorage | RedisStorage, clock: Callable[[], float] = time.time
    ) -> None:
        """Count up to `limit` requests a minute; 0 counts nothing."""
        self._limit = limit
        self._storage = storage
        self._clock = clock
        self._rest_until = 0.0

    @classmethod
    def over(cls, redis_url: str | None, limit: int, clock: Callable[[], float] = time.time) -> Self:
        """Return a limiter that counts in Redis if there is one. Does not connect yet."""
        if redis_url is None:
            return cls(limit, MemoryStorage(), clock)
        pool = ConnectionPool.from_url(
            redis_url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        storage = RedisStorage(
            redis_url, connection_pool=pool, key_prefix=f"{KEY_PREFIX}rate", wrap_exceptions=True
        )
        return cls(limit, storage, clock)

    @property
    def waits(self) -> bool:
        """Whether `hit` may have to wait for a server."""
        return self._limit > 0 and isinstance(self._storage, RedisStorage)

    def close(self) -> None:
        """Let go of the connections. They come back if they are needed."""
        if isinstance(self._storage, RedisStorage):
            self._storage.get_connection().close()

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
