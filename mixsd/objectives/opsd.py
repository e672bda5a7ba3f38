"""On-policy self-distillation: the model answers, the base model that is shown the hint judges.

The baseline of arXiv:2605.16865 (section 3.3 of its code). Before each step the model that is
trained answers the naive prompts of that step's facts, as it is then. The base model, which is
the same one with its adapter off, is given the expert prompt and the same tokens, and says at
each place what it holds likely. The loss draws the model, given the naive prompt, towards that.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from peft import PeftModel

from mixsd.config import OpsdConfig
from mixsd.decoding.behind import Behind
from mixsd.decoding.rng import Draw
from mixsd.decoding.solo import write
from mixsd.decoding.suited import most_tokens
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.planning import Room, room_of
from mixsd.progress import OnProgress, Progress, silent
from mixsd.prompts import STYLES
from mixsd.records import plain_record, prompt_sha256
from mixsd.supervision import Supervision
from mixsd.training.batches import Example
from mixsd.training.soft import Kind, soft_targets
from mixsd.units import Unit, units_of

_SLOTS: Final = 64


def records_of(
    base: Base,
    facts: Sequence[Fact],
    config: OpsdConfig,
    *,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
) -> Iterator[Supervision]:
    """Yield what is taught: the plain answers, which no step trains on, under both prompts.

    A fact whose prompts and rollout do not fit the model has none, and is not taught.
    """
    every = list(units_of(facts, 1))
    for place, unit in enumerate(every):
        on_progress(Progress(place, len(every), "targets"))
        if unit.id not in done:
            yield _record(base, unit, config)
    on_progress(Progress(len(every), len(every), "targets"))


def _record(base: Base, unit: Unit, config: OpsdConfig) -> Supervision:
    room = _room(base, unit, config)
    plain = plain_record(base, unit, STYLES[config.prompt_style], seed=config.seed)
    record = replace(plain, method="opsd", prompt_sha256=prompt_sha256(room.prompts))
    if room.fits:
        return record
    return replace(
        record,
        text="",
        token_ids=(),
        finish_reason="prompt_too_long",
        verified=False,
        nats_per_token=None,
        reason="prompt_too_long",
    )


def _room(base: Base, unit: Unit, config: OpsdConfig) -> Room:
    limit = most_tokens(base.model, base.max_tokens)
    return room_of(base, unit, STYLES[config.prompt_style], config.max_new_tokens, limit)


@dataclass(frozen=True, slots=True)
class _Question:
    """A wording of a fact's question, as it is asked with and without the hint."""

    unit: Unit
    naive: tuple[int, ...]
    expert: tuple[int, ...]
    cap: int


class OnPolicy:
    """Makes the examples of a step: rollouts, with what the base model holds likely. A `Source`.

    The rollouts are a function of the model as it is, the step and the settings.
    """

    def __init__(
        self,
        base: Base,
        facts: Sequence[Fact],
        records: Sequence[Supervision],
        config: OpsdConfig,
        *,
        on_check: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to make examples.

        Args:
            base: The base model.
            facts: What is taught.
            records: From `records_of`. Those that are trainable are counted by the indices of a step.
            config: How.
            on_check: Called before every forward pass. May raise to stop.
        """
        by_key = {fact.key: fact for fact in facts}
        units = [
            Unit(by_key[record.fact_key], record.question, record.generation)
            for record in records
            if record.trainable
        ]
        self._questions = [_question(base, unit, config) for unit in units]
        self._config = config
        self._sampling = Sampling(config.temperature, config.top_k, base.chat.stop_ids)
        self._on_check = on_check
        self._base = Behind()

    def __call__(self, model: PeftModel, step: int, chosen: Sequence[int]) -> list[Example]:
        """Return the examples of a step, `rollouts` for each of its questions, in order."""
        if not chosen:
            return []
        questions = [self._questions[i] for i in chosen for _ in range(self._config.rollouts)]
        was_training = model.training
        model.eval()
        try:
            texts = self._rollouts(model, step, questions)
            with model.disable_adapter():
                return [self._judged(model, *pair) for pair in zip(questions, texts, strict=True)]
        finally:
            model.train(was_training)

    def _rollouts(self, model: PeftModel, step: int, questions: Sequence[_Question]) -> list[Text]:
        rollouts = self._config.rollouts
        texts = []
        for place, question in enumerate(questions):
            unit, number = question.unit, step * rollouts + place % rollouts
            draw = Draw(self._config.seed, unit.fact.key, unit.generation, attempt=number)
            texts.append(Text(Prompts(question.naive), draw, lam=0.0, cap=question.cap))
        # Decoded through the adapter's own layers: merging it would move the base in the last bit.
        write(model, texts, self._sampling, slots=_SLOTS, on_step=lambda _: self._on_check())
        return texts

    def _judged(self, model: PeftModel, question: _Question, text: Text) -> Example:
        """Return a rollout with what the base model, shown the hint, holds likely at each token."""
        self._on_check()
        logits_TV = self._base.logits(model, question.expert, text.tokens)
        kind: Kind = self._config.loss  # type: ignore[assignment]  # checked where it was made
        k = 1 if kind == "nll" else self._config.kl_top_k
        return Example(question.naive, tuple(text.tokens), soft=soft_targets(logits_TV, k, kind))


def _question(base: Base, unit: Unit, config: OpsdConfig) -> _Question:
    room = _room(base, unit, config)
    return _Question(unit, room.prompts.naive or (), room.prompts.expert, room.cap)
