"""What is measured on: a model, facts, and how large everything is."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from benchmarks.engine.facts import invented_facts
from mixsd.config import MixConfig
from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.rng import Draw
from mixsd.decoding.text import Counters, Prompts, Sampling, Text
from mixsd.facts import Fact
from mixsd.generation import Generation
from mixsd.models.load import Base
from mixsd.prompts import STYLES

LAM: Final = 0.3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work a measure is.

    Attributes:
        facts: Of most measures.
        cap: Tokens of a text.
        slots: Texts side by side.
        few: Facts where two texts are decoded side by side.
        alone: Facts where texts are decoded one by one.
        times: How many times as many facts G9 and G12 take.
        crowd: Facts around the straggler.
        straggler: Its cap.
        every: Of how many tokens the stateless loop is timed on one.
    """

    facts: int = 32
    cap: int = 48
    slots: int = 16
    few: int = 8
    alone: int = 24
    times: tuple[int, int] = (4, 8)
    crowd: int = 64
    straggler: int = 256
    every: int = 4


TINY: Final = Sizes(facts=6, cap=6, slots=3, few=4, alone=4, times=(2, 2), crowd=6, straggler=12, every=3)


@dataclass(frozen=True, slots=True)
class Setting:
    """A model and what it is to do."""

    base: Base
    sizes: Sizes
    style: str
    pairs: int
    seed: int = 0

    @property
    def endless(self) -> Base:
        """The model, but no token ends a text: every text runs into its cap."""
        chat = copy.copy(self.base.chat)
        chat.stop_ids = frozenset()
        return replace(self.base, chat=chat)

    def facts(self, count: int) -> list[Fact]:
        return list(invented_facts(count, self.seed))

    def texts(self, count: int, cap: int, *, attempt: int = 0) -> list[Text]:
        """Return attempts at as many facts, not yet begun."""
        chat, style = self.base.chat, STYLES[self.style]
        return [
            Text(
                Prompts(
                    expert=tuple(chat.prompt_ids(style.expert_prompt(fact.question, fact.answer))),
                    naive=tuple(chat.prompt_ids(style.naive_prompt(fact.question))),
                ),
                Draw(self.seed, fact.key, 0, attempt),
                LAM,
                cap,
            )
            for fact in self.facts(count)
        ]

    def config(self, cap: int, *, lam: float = LAM, style: str | None = None) -> MixConfig:
        """Return settings for one attempt at each fact."""
        return MixConfig(
            lam=lam,
            lam_backoff=(),
            max_attempts=1,
            max_new_tokens=cap,
            opening="",
            end_at_answer=False,
            prompt_style=style or self.style,
            seed=self.seed,
            batch_facts=self.sizes.slots,
        )

    def engine(self, knobs: Knobs | None = None) -> Engine:
        """Return an engine that no token stops."""
        sampling = Sampling(temperature=0.0, top_k=64, stop_ids=frozenset())
        return Engine(self.base.model, sampling, knobs=knobs or Knobs(slots=self.sizes.slots))


def decode(engine: Engine, texts: Sequence[Text]) -> float:
    """Decode texts, slots being filled as they are freed; return the seconds."""
    began = perf_counter()
    waiting = list(reversed(texts))
    while waiting or not engine.idle:
        while waiting and engine.free:
            engine.admit(waiting.pop())
        engine.step()
    return perf_counter() - began


def decode_behind_prompts(engine: Engine, texts: Sequence[Text]) -> tuple[float, int]:
    """Decode no more texts than there are slots.

    Returns:
        Seconds of the steps behind the first at whose end all prompts are read, and how many
        tokens those wrote. Each text has its first token by then.
    """
    for text in texts:
        engine.admit(text)
    while not all(text.tokens for text in texts):
        engine.step()
    began, before = perf_counter(), engine.counters.tokens
    while not engine.idle:
        engine.step()
    return perf_counter() - began, engine.counters.tokens - before


def supervise(
    base: Base, facts: Sequence[Fact], configs: Sequence[MixConfig], knobs: Knobs | None = None
) -> tuple[float, Counters]:
    """Make records of facts by each of the settings at once; return the seconds and the work."""
    generation = Generation(base, *configs, knobs=knobs)
    began = perf_counter()
    for _ in generation.made(facts):
        pass
    return perf_counter() - began, generation.counters


def batches(texts: Sequence[Text], size: int) -> list[Sequence[Text]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]
