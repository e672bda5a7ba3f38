"""To learn early that the process is to end.

A server waits for its open connections before it tells the application to shut down. One that would
stay open for ever has to know before.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_of_the_end(tell: Callable[[], None]) -> Generator[None]:
    """Call `tell` in the event loop when a signal asks the process to end, before whoever else listens.

    Only where somebody listens already, as a server does, and in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def listen(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        then: Any = before[signal.Signals(number)]
        then(number, frame)

    ours = [number for number in _SIGNALS if callable(before[number])]
    for number in ours:
        signal.signal(number, listen)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is listen:
                signal.signal(number, before[number])
