"""Mixed decoding: one text, continued at every token from one of two conditionals.

Each sequence has two rows of one batch: its expert and its naive prompt, both followed by the
text so far. A coin that is known beforehand picks the row that decides the next token, and the
token is appended to both rows. So the text at temperature 0 or above has exactly the law

    p(y[t] | y[<t]) = lam * p(y[t] | naive, y[<t]) + (1 - lam) * p(y[t] | expert, y[<t])

of MixSD (arXiv:2605.16865), at one forward pass a token. Knows nothing of answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import torch
from transformers import PreTrainedModel

from mixsd.decoding.choice import Choice, choose
from mixsd.decoding.rng import Draw, is_naive
from mixsd.decoding.rows import Rows, logits_alone

NEAR_TIE: Final = 1e-3
"""Margin under which a token is judged again alone. In float32 a batch moves scores by far less."""

Finish = Literal["stop", "cap"]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids of the two prompts of a fact, without anything generated."""

    expert: tuple[int, ...]
    naive: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `stop_ids` end a text and stay in it."""

    temperature: float
    top_k: int
    stop_ids: frozenset[int]
    pad_id: int


@dataclass(slots=True)
class Text:
    """A text under way: where its prompts stand in the prefilled batch, and what was drawn."""

    place: int
    prompts: Prompts
    draw: Draw
    lam: float
    cap: int
    tokens: list[int] = field(default_factory=list)
    picks: list[bool] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(slots=True)
class Counters:
    """Work done. Free of noise, so a change of speed shows here first."""

    attempts: int = 0
    tokens: int = 0
    forwards: int = 0
    row_tokens: int = 0
    prefill_tokens: int = 0
    judged_alone: int = 0
    capped: int = 0


class Engine:
    """Decodes attempts at texts, several side by side.

    The result of an attempt depends on its prompts, draw and `lam` alone: neither on the other
    sequences of the batch nor on their order. In float32 a token whose margin is smaller than
    what a batch may change is judged again in a forward pass of its own. Half-precision models
    have no such guarantee.
    """

    def __init__(self, model: PreTrainedModel, sampling: Sampling) -> None:
        self._model = model
        self._sampling = sampling
        self._near = NEAR_TIE if model.dtype in {torch.float32, torch.float64} else 0.0
        self.counters = Counters()

    def prefill(self, prompts: Sequence[Prompts]) -> Rows:
        """Read the prompts of a batch once, for all attempts: rows 2i and 2i + 1 are those of i."""
        rows = [list(ids) for pair in prompts for ids in (pair.expert, pair.naive)]
        self.counters.forwards += 1
        prefilled = Rows.prefill(self._model, rows, pad_id=self._sampling.pad_id)
        self.counters.prefill_tokens += prefilled.read_tokens
        return prefilled

    def decode(self, prefilled: Rows, batch: Sequence[Text], on_step: Callable[[], None]) -> None:
        """Continue every sequence until it stops or meets its cap.

        Args:
            prefilled: From `prefill`; left as it is.
            batch: Sequences to fill in; each names its place among the prefilled prompts.
            on_step: Called before every forward pass. May raise to stop.
        """
        rows = prefilled.select([2 * s.place + side for s in batch for side in (0, 1)])
        live = list(batch)
        self.counters.attempts += len(batch)
        while True:
            for place, sequence in enumerate(live):
                self._extend(sequence, rows, place)
            staying = [place for place, sequence in enumerate(live) if sequence.finish is None]
            if not staying:
                return
            if len(staying) < len(live):
                rows = rows.select([2 * place + side for place in staying for side in (0, 1)])
                live = [live[place] for place in staying]
            on_step()
            rows.feed([sequence.tokens[-1] for sequence in live for _ in (0, 1)])
            self.counters.forwards += 1
            self.counters.row_tokens += 2 * len(live)

    def _extend(self, sequence: Text, rows: Rows, place: int) -> None:
        """Append the next token of a sequence, and note whether that ends it."""
        position = len(sequence.tokens)
        naive = is_naive(sequence.draw, position, lam=sequence.lam)
        choice = self._choose(rows.logits_RV[2 * place + naive], sequence, position)
        if choice.margin < self._near:
            prompt = sequence.prompts.naive if naive else sequence.prompts.expert
            with torch.inference_mode():
                logits_1V = logits_alone(self._model, [*prompt, *sequence.tokens])
            choice = self._choose(logits_1V[0], sequence, position)
            self.counters.judged_alone += 1
        sequence.tokens.append(choice.token_id)
        sequence.picks.append(naive)
        self.counters.tokens += 1
        if choice.token_id in self._sampling.stop_ids:
            sequence.finish = "stop"
        elif len(sequence.tokens) >= sequence.cap:
            sequence.finish = "cap"
            self.counters.capped += 1

    def _choose(self, logits_V: torch.Tensor, sequence: Text, position: int) -> Choice:
        return choose(
            logits_V,
            sequence.draw,
            position,
            temperature=self._sampling.temperature,
            top_k=self._sampling.top_k,
        )
