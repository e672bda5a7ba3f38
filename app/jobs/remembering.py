"""What a process remembers, for a while or up to a number, of what takes long to find out."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_MOST: Final = 1000
"""Things that are remembered at once where time is the limit."""


class Remembered(Generic[Key, Value]):
    """The last `limit` values that were put in or asked for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._found[key] = value
            if len(self._found) > self._limit:
                self._found.popitem(last=False)


class Lately(Generic[Key, Value]):
    """Values that may be as old as `seconds`. Two threads that ask at once may both find one out."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._found: Remembered[Key, tuple[float, Value]] = Remembered(_MOST)

    def get(self, key: Key, find: Callable[[], Value]) -> Value:
        """Return what `find` returned lately, or returns now."""
        now, found = self._clock(), self._found.get(key)
        if found is None or now - found[0] >= self._seconds:
            found = (now, find())
            self._found.put(key, found)
        return found[1]
