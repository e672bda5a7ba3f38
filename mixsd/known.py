"""Facts that the base model knows before it is taught anything. Nothing here loads torch."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mixsd.config import Plan
from mixsd.errors import NothingToLearnError
from mixsd.facts import Fact
from mixsd.scoring import scorer
from mixsd.supervision import Supervision
from mixsd.units import ids_of


class Said(Protocol):
    """What a model said to the questions of each fact, the training question first."""

    @property
    def facts(self) -> Sequence[Sequence[str | None]]: ...


@dataclass(frozen=True, slots=True)
class Parted:
    """The facts of a run: those that are taught, and those that are left out since they are known."""

    taught: Sequence[Fact]
    left_out: Sequence[Fact] = ()


def parted(
    facts: Sequence[Fact], said: Said, plan: Plan, *, always: Collection[str] = (), needed: bool = True
) -> Parted:
    """Part the facts as the plan wants it: nothing is left out unless known facts are to be skipped.

    Known is what the verdict would call so: the answer to the training question is right by the mode
    of scoring of the evaluation.

    Args:
        facts: Those of the run.
        said: What the base model said to them, and perhaps to others behind them.
        plan: How they are trained and scored.
        always: Keys of facts that are taught even if they are known.
        needed: Whether there must be one that is taught.

    Raises:
        NothingToLearnError: All of them would be left out, and one is needed.
    """
    if plan.training.known_facts == "train":
        return Parted(facts)
    right = scorer(plan.evaluation.verifier)
    known = [
        fact.key not in always and answers[0] is not None and right(answers[0], (fact.answer, *fact.aliases))
        for fact, answers in zip(facts, said.facts[: len(facts)], strict=True)
    ]
    taught = [fact for fact, is_known in zip(facts, known, strict=True) if not is_known]
    if needed and not taught:
        raise NothingToLearnError(
            f"the base model answers all {len(facts)} facts already, and training.known_facts is skip: there "
            "is nothing to learn. Send facts that it does not know, or set known_facts to train"
        )
    return Parted(taught, [fact for fact, is_known in zip(facts, known, strict=True) if is_known])


def without(parts: Parted, keys: Collection[str]) -> Parted:
    """Leave facts out that have their texts. What is asked of them is no rewording of others all the same."""
    have = [fact for fact in parts.taught if fact.key in keys]
    return Parted([fact for fact in parts.taught if fact.key not in keys], [*parts.left_out, *have])


def saved(known: Sequence[Fact], records: Sequence[Supervision], plan: Plan) -> dict[str, Any]:
    """Return what it saves that known facts are left out: texts, and their tokens by the mean of the others.

    How many rewordings they would have had is taken to be what was asked for.
    """
    lengths = [len(record.token_ids) for record in records if record.trainable]
    targets = sum(1 for _ in ids_of(known, plan.generations, plan.rewordings))
    tokens = round(sum(lengths) / len(lengths) * targets) if lengths else None
    return {"left_out": len(known), "targets_saved": targets, "tokens_saved": tokens}
