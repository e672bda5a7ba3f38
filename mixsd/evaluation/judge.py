"""From answers to verdicts: the ledger of facts, and scores before and after."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mixsd.answers import verifier
from mixsd.config import EvalConfig
from mixsd.evaluation.gate import Gate, decide
from mixsd.evaluation.measure import Asked, Measured, questions_of
from mixsd.evaluation.outcomes import Outcome, outcome_of
from mixsd.evaluation.statistics import Score, compare
from mixsd.evaluation.suites import general
from mixsd.facts import Fact
from mixsd.supervision import Supervision


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a fact and the answers that it rests on.

    `asked` holds one object per question: kind, question, expected, and the answer of base and
    adapter, each with whether it is right; None where the question could not be asked.
    """

    fact: Fact
    outcome: Outcome
    reason: str | None
    asked: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.fact.key,
            "question": self.fact.question,
            "answer": self.fact.answer,
            "aliases": list(self.fact.aliases),
            "outcome": str(self.outcome),
            "reason": self.reason,
            "asked": list(self.asked),
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that is known at the end: one verdict a fact, the scores, and the gate if there is one."""

    verdicts: tuple[Verdict, ...]
    scores: tuple[Score, ...]
    gate: Gate | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Facts by outcome; they add up to the facts sent."""
        seen = Counter(verdict.outcome for verdict in self.verdicts)
        return {"facts": len(self.verdicts)} | {str(outcome): seen[outcome] for outcome in Outcome}


def judge(
    facts: Sequence[Fact],
    supervision: Sequence[Supervision],
    base: Measured,
    adapter: Measured,
    config: EvalConfig,
) -> Judgement:
    """Compare what base and adapter said, fact by fact and suite by suite."""
    by_fact: dict[str, list[Supervision]] = {}
    for record in supervision:
        by_fact.setdefault(record.fact_key, []).append(record)
    verdicts = tuple(
        _verdict(fact, by_fact.get(fact.key, []), base.facts[place], adapter.facts[place], config)
        for place, fact in enumerate(facts)
    )
    scores = [_recall(kind, verdicts, config) for kind in ("question", "paraphrase", "probe")]
    scores += [_general(base, adapter, config), _drift(base, adapter, config)]
    gate = decide(scores, config.gate) if config.gate else None
    return Judgement(verdicts, tuple(score for score in scores if score.n), gate)


def _verdict(
    fact: Fact,
    records: Sequence[Supervision],
    base: Sequence[str | None],
    adapter: Sequence[str | None],
    config: EvalConfig,
) -> Verdict:
    right = verifier(config.verifier)

    def scored(asked: Asked, before: str | None, after: str | None) -> dict[str, Any]:
        return {
            "kind": asked.kind,
            "question": asked.question,
            "expected": asked.answers[0],
            "base_answer": before,
            "base_correct": None if before is None else right(before, asked.answers),
            "adapter_answer": after,
            "adapter_correct": None if after is None else right(after, asked.answers),
        }

    rows = tuple(map(scored, questions_of(fact), base, adapter))
    too_long = bool(records) and all(record.finish_reason == "prompt_too_long" for record in records)
    outcome = outcome_of(
        skipped=too_long or rows[0]["base_correct"] is None,
        supervised=any(record.trainable for record in records),
        base_right=bool(rows[0]["base_correct"]),
        adapter_right=bool(rows[0]["adapter_correct"]),
    )
    reason = None
    if outcome is Outcome.SKIPPED:
        reason = "prompt_too_long"
    elif outcome is Outcome.NO_SUPERVISION:
        reason = next((record.reason for record in records if record.reason), "no_attempt_accepted")
    return Verdict(fact, outcome, reason, rows)


_SUITE_OF = {"question": "recall", "paraphrase": "paraphrase", "probe": "probe"}


def _recall(kind: str, verdicts: Sequence[Verdict], config: EvalConfig) -> Score:
    rows = [row for verdict in verdicts for row in verdict.asked if row["kind"] == kind]
    rows = [row for row in rows if row["base_correct"] is not None]
    return compare(
        _SUITE_OF[kind],
        "accuracy",
        [float(row["base_correct"]) for row in rows],
        [float(row["adapter_correct"]) for row in rows],
        resamples=config.bootstrap,
        confidence=config.confidence,
    )


def _general(base: Measured, adapter: Measured, config: EvalConfig) -> Score:
    right = verifier("contains")
    items = general().items if config.general else ()

    def marks(said: Sequence[str | None]) -> list[float]:
        return [
            float(text is not None and right(text, (item.answer, *item.aliases)))
            for item, text in zip(items, said, strict=True)
        ]

    return compare(
        "general",
        "accuracy",
        marks(base.general),
        marks(adapter.general),
        resamples=config.bootstrap,
        confidence=config.confidence,
    )


def _drift(base: Measured, adapter: Measured, config: EvalConfig) -> Score:
    return compare(
        "drift",
        "nats_per_token",
        base.open_nats,
        adapter.open_nats,
        resamples=config.bootstrap,
        confidence=config.confidence,
        lower_is_better=True,
    )
