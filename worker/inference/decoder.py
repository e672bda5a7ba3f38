"""Answers requests: all that can be are written side by side, whenever they come.

One thread owns models and device. Between two forward passes it takes in what was asked meanwhile, so
a request joins what is under way instead of waiting for its end.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from app.inference.errors import (
    InferenceBusyError,
    InferenceFailedError,
    MessagesRefusedError,
    PromptTooLongError,
)
from app.inference.wire import Ask
from mixsd.decoding.suited import most_tokens
from mixsd.errors import BadMessagesError, MixsdError
from mixsd.errors import PromptTooLongError as TooLong
from worker.failures import is_out_of_memory
from worker.inference.lanes import Lane, LaneKey, Line, lines_of
from worker.inference.models import AdapterKey, Room, key_of
from worker.inference.tickets import Sink, Ticket

log = logging.getLogger(__name__)

_TICK: Final = 1.0
"""Seconds between looks at the clock while there is nothing to do."""


class FullError(Exception):
    """As many requests as may be are answered or wait."""


class Decoder:
    """Answers requests in one thread, which runs `run`. All else may be called from any."""

    def __init__(
        self,
        room: Room,
        *,
        most: int,
        seconds: float,
        idle: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up a decoder.

        Args:
            room: Where models are; belongs to the thread of `run`.
            most: Requests that are answered or wait.
            seconds: How long a request may wait, and then how long it may be answered.
            idle: Seconds without a request after which models are unloaded.
        """
        self._room = room
        self._most = most
        self._seconds = seconds
        self._idle = idle
        self._clock = clock
        self._changed = threading.Condition()
        self._asked: deque[Ticket] = deque()
        self._tickets: list[Ticket] = []
        self._lanes: dict[LaneKey, Lane] = {}
        self._stopping = False
        self._busy_at = clock()
        self._loaded = False

    @property
    def idle_seconds(self) -> float:
        """How long nothing was asked."""
        with self._changed:
            return 0.0 if self._tickets else self._clock() - self._busy_at

    def submit(self, ask: Ask, sink: Sink) -> Ticket:
        """Take a request. Its events go to `sink`.

        Raises:
            FullError: Too many are there already.
        """
        with self._changed:
            if sum(not ticket.over for ticket in self._tickets) >= self._most:
                raise FullError
            ticket = Ticket(ask, sink, until=self._clock() + self._seconds)
            self._tickets.append(ticket)
            self._asked.append(ticket)
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Give a request up: whoever asked is gone."""
        with self._changed:
            ticket.over = True
            self._changed.notify()

    def stop(self) -> None:
        """Let `run` return."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        """Answer requests until `stop`."""
        while self._wait():
            try:
                self._turn()
            except Exception as error:  # whatever it is, those who come next deserve an answer
                log.exception("answering failed")
                self._give_up(error)

    def _wait(self) -> bool:
        """Return once there is something to do; false if that is to end."""
        with self._changed:
            while not (self._stopping or self._tickets):
                self._changed.wait(_TICK)
                if self._loaded and not self._tickets and self._clock() - self._busy_at > self._idle:
                    self._loaded = False
                    self._room.unload()
                    log.info("unloaded all models: nothing was asked for %.0f s", self._idle)
            return not self._stopping

    def _turn(self) -> None:
        """Take in what was asked, and bring every text on by one pass."""
        self._clear()
        self._take_in()
        for key, lane in list(self._lanes.items()):
            self._step(key, lane)
        self._clear()

    def _clear(self) -> None:
        """Forget requests that are over, and end those whose time is."""
        now = self._clock()
        with self._changed:
            waiting = [ticket for ticket in self._asked if not ticket.over]
        for ticket in waiting:
            if now > ticket.until:
                ticket.fail(InferenceBusyError.code, "no place became free in time: try again later")
        for lane in self._lanes.values():
            for line in lane.lines:
                if not line.ticket.over and now > line.ticket.until:
                    lane.drop(line)
                    line.ticket.answered(line.answer("time"))
                elif line.ticket.over:
                    lane.drop(line)
        self._lanes = {key: lane for key, lane in self._lanes.items() if not lane.idle}
        with self._changed:
            self._asked = deque(ticket for ticket in self._asked if not ticket.over)
            if any(ticket.over for ticket in self._tickets):
                self._busy_at = self._clock()
            self._tickets = [ticket for ticket in self._tickets if not ticket.over]

    def _take_in(self) -> None:
        """Begin with requests in the order in which they came, until one has to wait for a model."""
        while (ticket := self._next()) is not None:
            try:
                lines = self._begin(ticket)
            except MixsdError as error:
                log.warning("a request cannot be answered: %s", error)
                ticket.fail(_code_of(error), str(error))
            except Exception as error:
                if not is_out_of_memory(error):
                    ticket.fail(InferenceFailedError.code, "the adapter could not be loaded")
                    raise
                ticket.fail(InferenceFailedError.code, "the device has no room for this model")
            else:
                self._line_up(ticket, lines)

    def _next(self) -> Ticket | None:
        """Return the request that is next, if its models can be loaded beside those in use."""
        with self._changed:
            while self._asked:
                ticket = self._asked[0]
                if not ticket.over:
                    try:
                        if not self._room.takes(key_of(ticket.ask.adapter), self._busy):
                            return None
                    except MixsdError as error:
                        ticket.fail(_code_of(error), str(error))
                self._asked.popleft()
                if not ticket.over:
                    return ticket
            return None

    @property
    def _busy(self) -> set[AdapterKey]:
        """Adapters that cannot be taken off now: of requests under way, also where only the base is left."""
        return {key_of(line.ticket.ask.adapter) for lane in self._lanes.values() for line in lane.lines}

    def _begin(self, ticket: Ticket) -> list[Line]:
        """Load what a request needs, and read its prompts.

        Raises:
            MixsdError: It cannot be answered.
        """
        ask = ticket.ask
        self._loaded = True
        self._room.load(ask.adapter, self._busy)
        base = self._room.base
        prompts = [base.chat.conversation_ids([m.model_dump() for m in chat]) for chat in ask.chats]
        most = most_tokens(base.model, base.max_tokens)
        for index, ids in enumerate(prompts):
            if len(ids) + (1 if ask.fitting else ask.max_new_tokens) > most:
                raise TooLong(
                    f"prompt {index} has {len(ids)} tokens, and {base.id} takes {most} with the answer: "
                    "shorten it, or lower max_new_tokens"
                )
        caps = [min(ask.max_new_tokens, most - len(ids)) for ids in prompts]
        return lines_of(ticket, base, prompts, caps)

    def _line_up(self, ticket: Ticket, lines: list[Line]) -> None:
        ask = ticket.ask
        ticket.left = len(lines)
        ticket.until = self._clock() + self._seconds
        adapter = key_of(ask.adapter)
        for line in lines:
            key = LaneKey.of(adapter if line.of == "adapter" else None, ask)
            if key not in self._lanes:
                with self._room.using(key.adapter) as model:
                    self._lanes[key] = Lane.of(key, model, self._room.base)
            self._lanes[key].waiting.append(line)

    def _step(self, key: LaneKey, lane: Lane) -> None:
        try:
            with self._room.using(key.adapter):
                ended = lane.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            for line in lane.lines:
                line.ticket.fail(InferenceFailedError.code, "the device has no room for these texts")
            del self._lanes[key]
            return
        for line in lane.live:
            if line.ticket.ask.deltas and (delta := line.piece()) is not None:
                line.ticket.wrote(delta)
        for line in ended:
            self._finish(line)

    def _finish(self, line: Line) -> None:
        answer = line.answer()
        if line.ticket.ask.deltas and (rest := line.rest(answer)) is not None:
            line.ticket.wrote(rest)
        line.ticket.answered(answer)

    def _give_up(self, error: Exception) -> None:
        """Fail all that is under way, and begin anew with nothing loaded."""
        for lane in self._lanes.values():
            for line in lane.lines:
                line.ticket.fail(InferenceFailedError.code, "unexpected error")
        self._lanes = {}
        self._room.unload()
        self._clear()


def _code_of(error: MixsdError) -> str:
    match error:
        case BadMessagesError():
            return MessagesRefusedError.code
        case TooLong():
            return PromptTooLongError.code
        case _:
            return InferenceFailedError.code
