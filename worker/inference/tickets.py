"""A request that waits or is being answered, and where its events go."""

from collections.abc import Callable
from dataclasses import dataclass

from app.inference.wire import Answer, Ask, Delta, Done, Failed

Sink = Callable[[Answer | Delta | Done | Failed], None]
"""Takes the events of a request, in any thread. The last one is `Done` or `Failed`."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request.

    Attributes:
        until: When it ends, by the monotonic clock: first its waiting, then its answering.
        left: Answers that are not finished.
        over: It needs nothing more: it was answered, has failed, or whoever asked is gone.
    """

    ask: Ask
    sink: Sink
    until: float
    left: int = 0
    over: bool = False

    def fail(self, code: str, detail: str) -> None:
        if not self.over:
            self.over = True
            self.sink(Failed(code=code, detail=detail))

    def answered(self, answer: Answer) -> None:
        """Pass an answer on, and end with the last one."""
        if self.over:
            return
        self.sink(answer)
        self.left -= 1
        if self.left == 0:
            self.over = True
            self.sink(Done())

    def wrote(self, delta: Delta) -> None:
        if not self.over:
            self.sink(delta)
