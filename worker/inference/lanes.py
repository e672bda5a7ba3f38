"""Texts that can be written side by side: of one model, drawn in one way."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Self

from app.inference.wire import Answer as AnswerEvent
from app.inference.wire import Ask, AskedBase, Delta, FinishReason, Of
from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.rng import Draw
from mixsd.decoding.rows import LanguageModel
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.models.load import Base
from worker.inference.models import AdapterKey
from worker.inference.tickets import Ticket
from worker.inference.writing import StopWords, Writer

SLOTS: Final = 16
"""Texts side by side. What is written does not depend on it."""


@dataclass(frozen=True, slots=True)
class LaneKey:
    """What texts must have in common. Without an adapter they are those of the base model."""

    adapter: AdapterKey | None
    temperature: float
    top_k: int
    top_p: float

    @classmethod
    def of(cls, adapter: AdapterKey | None, ask: Ask) -> Self:
        """Return the lane of an ask. At temperature 0 nothing is drawn, so the others say nothing."""
        if not ask.temperature:
            return cls(adapter, 0.0, 1, 1.0)
        return cls(adapter, ask.temperature, ask.top_k, ask.top_p)


@dataclass(slots=True, eq=False)
class Line:
    """One answer under way."""

    ticket: Ticket
    index: int
    of: Of
    text: Text
    writer: Writer
    seen: int = 0

    def piece(self) -> Delta | None:
        """Return what is new since it was asked last."""
        if self.seen == len(self.text.tokens):
            return None
        self.seen = len(self.text.tokens)
        new = self.writer.piece(self.text.tokens)
        return Delta(index=self.index, of=self.of, text=new) if new else None

    def rest(self, answer: AnswerEvent) -> Delta | None:
        """Return what of a whole answer was not shown yet."""
        new = self.writer.rest(answer.text)
        return Delta(index=self.index, of=self.of, text=new) if new else None

    def answer(self, reason: FinishReason | None = None) -> AnswerEvent:
        """Return the whole answer, as it stands."""
        shown, stopped = self.writer.text(self.text.tokens)
        ended: FinishReason = "stop" if stopped or self.text.finish == "stop" else "length"
        return AnswerEvent(
            index=self.index,
            of=self.of,
            text=shown,
            finish_reason=reason or ended,
            tokens=len(self.text.tokens),
            prompt_tokens=len(self.text.prompts.expert),
        )


def lines_of(ticket: Ticket, base: Base, prompts: list[list[int]], caps: list[int]) -> list[Line]:
    """Return an answer to be written, of so many tokens at most, for each prompt and model that is asked."""
    ask = ticket.ask
    asked: list[Of] = ["adapter", "base"] if ask.compare_base else ["adapter"]
    if isinstance(ask.adapter, AskedBase):
        asked = ["base"]
    return [
        Line(ticket, index, of, _text(ask, base, index, ids, cap), Writer(base.chat, ask.stop))
        for index, (ids, cap) in enumerate(zip(prompts, caps, strict=True))
        for of in asked
    ]


def _text(ask: Ask, base: Base, index: int, ids: list[int], cap: int) -> Text:
    draw = Draw(seed=ask.seed, fact_key="generate", generation=0, attempt=index)
    ending = StopWords(base.chat, ask.stop) if ask.stop else None
    return Text(Prompts(tuple(ids)), draw, lam=0.0, cap=cap, ending=ending)


@dataclass(slots=True)
class Lane:
    """Answers that are written side by side, and those that wait for a place there."""

    key: LaneKey
    engine: Engine
    waiting: deque[Line] = field(default_factory=deque)
    live: list[Line] = field(default_factory=list)

    @classmethod
    def of(cls, key: LaneKey, model: LanguageModel, base: Base) -> Self:
        sampling = Sampling(key.temperature, key.top_k, base.chat.stop_ids, key.top_p)
        return cls(key, Engine(model, sampling, sides=1, knobs=Knobs(slots=SLOTS, memo=False)))

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.live)

    @property
    def lines(self) -> list[Line]:
        return [*self.live, *self.waiting]

    def step(self) -> list[Line]:
        """Bring every text on by one forward pass; return the answers that have ended.

        Raises:
            OutOfMemoryError: Not even one text fits.
        """
        while self.engine.free and self.waiting:
            line = self.waiting.popleft()
            self.live.append(line)
            self.engine.admit(line.text)
        self.engine.step()
        ended = [line for line in self.live if line.text.finish]
        self.live = [line for line in self.live if not line.text.finish]
        return ended

    def drop(self, line: Line) -> None:
        """Do nothing more for an answer."""
        if line in self.live:
            self.live.remove(line)
            self.engine.cancel(line.text)
        elif line in self.waiting:
            self.waiting.remove(line)
