"""What a run trains on, step by step, and how it is seen what it has learned."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from peft import PeftModel

from mixsd.config import OpsdConfig, Plan
from mixsd.evaluation.recall import answered
from mixsd.facts import Fact
from mixsd.living import Start
from mixsd.models.load import Base
from mixsd.objectives import opsd
from mixsd.objectives.replay import Beside, given, replay_examples
from mixsd.supervision import Supervision, taught_by
from mixsd.training.batches import Example, examples_of
from mixsd.training.source import Source
from mixsd.training.world import World

_SAMPLE: Final = 256
"""Facts that are asked while training, to see how many are known; the rest once all of those are."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a run trains on.

    Attributes:
        examples: Targets of the epochs: all, or those that are new, changed or retired.
        kept: Targets that are replayed beside them, where training starts from an adapter.
    """

    examples: list[Example]
    kept: list[Example]

    @classmethod
    def of(cls, base: Base, records: Sequence[Supervision], plan: Plan, start: Start | None) -> "Lesson":
        style = plan.method.prompt_style
        kept = start.kept if start else frozenset()
        return cls(
            examples_of(base, [each for each in records if each.fact_key not in kept], prompt_style=style),
            examples_of(base, [each for each in records if each.fact_key in kept], prompt_style=style),
        )


def targets_in(records: Sequence[Supervision], start: Start | None) -> int:
    """Return how many targets the epochs go over."""
    kept = start.kept if start else frozenset()
    return sum(record.trainable and record.fact_key not in kept for record in records)


def source_of(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    lesson: Lesson,
    plan: Plan,
    on_check: Callable[[], None],
) -> Source | None:
    """Return what makes the examples of each step, where that is more than the stored targets."""
    taught: Source | None = None
    examples = lesson.examples
    batch_size = min(plan.training.batch_size, len(examples))
    if isinstance(plan.method, OpsdConfig):
        taught = opsd.OnPolicy(base, facts, records, plan.method, on_check=on_check)
    if lesson.kept and examples and plan.training.kept_ratio:
        taught = Beside(
            taught or given(examples),
            lesson.kept,
            ratio=plan.training.kept_ratio,
            seed=plan.training.seed,
            batch_size=batch_size,
            targets=len(examples),
        )
    retention = plan.training.retention
    if retention.type == "none":
        return taught
    return Beside(
        taught or given(examples),
        _answers(base, plan, on_check),
        ratio=retention.ratio,
        seed=retention.seed,
        batch_size=batch_size,
        targets=len(examples),
    )


def _answers(base: Base, plan: Plan, on_check: Callable[[], None]) -> list[Example]:
    """Return what the base model says to the prompts of retention."""
    retention = plan.training.retention
    if plan.training.shard == "none":
        return replay_examples(base, retention, on_check=on_check)
    # The others of a sharded run have the model's weights on their CPU alone.
    return World().made_by_first(
        lambda: [example.on_cpu() for example in replay_examples(base, retention, on_check=on_check)]
    )


def learned_by(
    base: Base,
    facts: Sequence[Fact],
    records: Sequence[Supervision],
    plan: Plan,
    start: Start | None,
    on_check: Callable[[], None],
) -> Callable[[PeftModel], float]:
    """Return what asks a model the questions that count, and returns the share that is as it should be.

    Those are the questions of all facts with a text. Where training starts from an adapter, one that is
    kept counts if that adapter knew it, and one whose answer is to go is as it should be without that.
    """
    asked, gone = asked_of(facts, records, start)

    def right(model: PeftModel, facts: Sequence[Fact]) -> int:
        pairs = [(fact.question, fact) for fact in facts]
        return sum(answered(base, model, pairs, plan.evaluation, on_step=lambda _: on_check()))

    return lambda model: share_right(asked, gone, plan.training.seed, partial(right, model))


def asked_of(
    facts: Sequence[Fact], records: Sequence[Supervision], start: Start | None
) -> tuple[list[Fact], Sequence[Fact]]:
    """Return the facts that are to be known, and those that are to be known no longer."""
    supervised = {record.fact_key for record in taught_by(records) if record.trainable}
    if start is None:
        return [fact for fact in facts if fact.key in supervised], ()
    supervised -= start.kept - start.known
    return [fact for fact in facts if fact.key in supervised], start.gone


def share_right(
    asked: Sequence[Fact], gone: Sequence[Fact], seed: int, right: Callable[[Sequence[Fact]], int]
) -> float:
    """Return the share of facts that are as they should be: 1 where there is nothing to ask.

    Args:
        asked: Those to be known. Of many a sample is asked, and the others if that is right.
        gone: Those not to be known.
        seed: Names the sample.
        right: Returns how many of some facts are answered.
    """
    shuffled = random.Random(f"asked {seed}").sample(asked, len(asked))  # noqa: S311  a sample
    sample, others = shuffled[:_SAMPLE], shuffled[_SAMPLE:]
    found, count = right(sample), len(sample) + len(gone)
    if gone:
        found += len(gone) - right(gone)
    if found < count or not others:
        return found / count if count else 1.0
    return (found + right(others)) / (count + len(others))
