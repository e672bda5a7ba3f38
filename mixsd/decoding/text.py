"""A text under way, what decides it, and what its making took. Loads no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol

from mixsd.decoding.choice import Candidates
from mixsd.decoding.memo import Node
from mixsd.decoding.rng import Draw

Finish = Literal["stop", "cap"]


class Guard(Protocol):
    """Keeps naive tokens from breaking an answer off. See `mixsd.decoding.guard`."""

    def inside(self, tokens: Sequence[int], /) -> bool:
        """Say whether the text has entered an answer and not ended it."""

    def leaves(self, tokens: Sequence[int], token_id: int, /) -> bool:
        """Say whether a token would break off every answer that is under way."""


class Ending(Protocol):
    """Ends a text that has said what it should. See `mixsd.decoding.ending`."""

    @property
    def end(self) -> int:
        """The token that ends a text."""

    def over(self, tokens: Sequence[int], token_id: int, /) -> bool:
        """Say whether the text has said what it should, and a token would say more."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids of the two prompts of a fact, without anything generated.

    Without a naive prompt the text comes from the expert prompt alone.
    """

    expert: tuple[int, ...]
    naive: tuple[int, ...] | None = None

    @property
    def sides(self) -> tuple[tuple[int, ...], ...]:
        return (self.expert,) if self.naive is None else (self.expert, self.naive)

    @property
    def longest(self) -> int:
        return max(map(len, self.sides))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `stop_ids` end a text and stay in it."""

    temperature: float
    top_k: int
    stop_ids: frozenset[int]
    top_p: float = 1.0


@dataclass(slots=True, eq=False)
class Text:
    """One attempt, and how far it has come.

    Attributes:
        prompts: What it continues.
        draw: Names its coins and noise.
        lam: Chance of a naive token.
        cap: Tokens at most.
        memo: Choices known for these prompts; shared by their texts.
        guard: Keeps naive tokens from breaking an answer off.
        ending: Ends the text before the model does.
        tokens: What was written so far.
        picks: One letter a token: where it came from.
    """

    prompts: Prompts
    draw: Draw
    lam: float
    cap: int
    memo: Node[Candidates] = field(default_factory=Node)
    guard: Guard | None = None
    ending: Ending | None = None
    tokens: list[int] = field(default_factory=list)
    picks: list[str] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(slots=True)
class Counters:
    """Work done. Free of noise, so a change of speed shows here first.

    Attributes:
        attempts: Texts begun.
        tokens: Tokens written, in all attempts.
        forwards: Passes through the transformer.
        prompt_tokens: Lengths of both prompts of every attempt, as if nothing was shared.
        prefill_tokens: Prompt tokens that were computed.
        copied_tokens: Tokens copied from one row to another instead.
        row_tokens: Written tokens that were computed, in both rows.
        head_rows: Rows that scores over the vocabulary were computed for, to choose a token.
        remembered: Tokens that needed no pass: chosen before, in another attempt.
        drafted: Tokens that were guessed.
        accepted: Guesses that were right.
        judged_alone: Near ties that were judged again in a pass of their own.
        guarded: Naive tokens that gave way to the expert's.
        ended: Texts that were ended behind the sentence with the answer.
        capped: Texts that ran into their cap.
        cancelled: Texts given up since an earlier attempt had succeeded.
        slots: Texts side by side, at the end.
        halvings: How often memory ran out, and half the slots were given up.
    """

    attempts: int = 0
    tokens: int = 0
    forwards: int = 0
    prompt_tokens: int = 0
    prefill_tokens: int = 0
    copied_tokens: int = 0
    row_tokens: int = 0
    head_rows: int = 0
    remembered: int = 0
    drafted: int = 0
    accepted: int = 0
    judged_alone: int = 0
    guarded: int = 0
    ended: int = 0
    capped: int = 0
    cancelled: int = 0
    slots: int = 0
    halvings: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)
