"""From answers to verdicts: the ledger of facts, and scores before and after."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mixsd.config import PROBE_SUITES, EvalConfig
from mixsd.evaluation import mistakes
from mixsd.evaluation.gate import Gate, decide
from mixsd.evaluation.living import Told
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.mistakes import Mistake, Names
from mixsd.evaluation.outcomes import Outcome, outcome_of
from mixsd.evaluation.questions import Asked, questions_of
from mixsd.evaluation.score import Score
from mixsd.evaluation.statistics import compare
from mixsd.evaluation.suites import general
from mixsd.facts import Fact
from mixsd.scoring import scorer
from mixsd.supervision import Supervision

GENERAL_MODE: Final = "contains"
"""How answers to the general set are scored, whatever the facts are scored by."""
UNTAUGHT: Final = ("neighbour",)
"""Kinds of probes whose answers have nothing to do with the facts."""

LEFT_OUT: Final = "left_out_as_known"
"""Why a fact was not trained on that the base model answers, see `mixsd.known`."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a fact and the answers that it rests on.

    `asked` holds one object per question: kind, question, expected, and the answer of base and
    adapter, each with whether it is right; None where the question could not be asked. A wrong answer
    says of what kind it is, see `mixsd.evaluation.mistakes`. `scored_by` is the mode of scoring.
    """

    fact: Fact
    outcome: Outcome
    reason: str | None
    asked: tuple[Row, ...]
    scored_by: str

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.fact.key,
            "question": self.fact.question,
            "answer": self.fact.answer,
            "aliases": list(self.fact.aliases),
            "outcome": str(self.outcome),
            "reason": self.reason,
            "scored_by": self.scored_by,
            "asked": [dict(row) for row in self.asked],
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that is known at the end: one verdict a fact, the scores, and the gate if there is one.

    `general` holds a row for each question of the general set, as `Verdict.asked` does. `living` is what
    is told beside it of a run that started from an adapter.
    """

    verdicts: tuple[Verdict, ...]
    scores: tuple[Score, ...]
    general: tuple[Row, ...] = ()
    gate: Gate | None = None
    living: Told | None = None

    @property
    def results(self) -> list[dict[str, Any]]:
        """The verdicts as plain data, each with what became of its fact beside a parent."""
        beside = self.living.rows if self.living else {}
        return [{**verdict.to_json(), **beside.get(verdict.fact.key, {})} for verdict in self.verdicts]

    @property
    def counts(self) -> dict[str, int]:
        """Facts by outcome; they add up to the facts sent."""
        seen = Counter(verdict.outcome for verdict in self.verdicts)
        return {"facts": len(self.verdicts)} | {str(outcome): seen[outcome] for outcome in Outcome}

    @property
    def mistakes(self) -> list[dict[str, Any]]:
        """Wrong answers of base and adapter by kind, for each suite that was asked."""
        by_suite = _by_suite(row for verdict in self.verdicts for row in verdict.asked)
        if self.general:
            by_suite["general"] = self.general
        return [_mistakes_of(suite, rows) for suite, rows in by_suite.items() if suite != "probe"]


def judge(
    facts: Sequence[Fact],
    supervision: Sequence[Supervision] | None,
    base: Measured,
    adapter: Measured,
    config: EvalConfig,
) -> Judgement:
    """Compare what base and adapter said, fact by fact and suite by suite.

    Args:
        supervision: What was to be trained on. None: outcomes are those of the answers alone, for an
            adapter that may have been taught other facts.
    """
    by_fact: dict[str, list[Supervision]] = {}
    for record in supervision or ():
        by_fact.setdefault(record.fact_key, []).append(record)
    names = Names(facts)
    verdicts = tuple(
        _verdict(
            fact,
            None if supervision is None else by_fact.get(fact.key, []),
            _rows(fact, base.facts[place], adapter.facts[place], config.verifier, names),
            config.verifier,
        )
        for place, fact in enumerate(facts)
    )
    by_suite = _by_suite(row for verdict in verdicts for row in verdict.asked)
    common = tuple(_general(base, adapter, names)) if config.general else ()
    scores = [_share(suite, rows, config) for suite, rows in by_suite.items()]
    scores += [_share("general", common, config), _drift(base, adapter, config)]
    gate = decide(scores, config.gate) if config.gate else None
    return Judgement(verdicts, tuple(score for score in scores if score.n), common, gate)


def _verdict(fact: Fact, records: Sequence[Supervision] | None, rows: tuple[Row, ...], mode: str) -> Verdict:
    taught = records is not None
    records = records or ()
    too_long = bool(records) and all(record.finish_reason == "prompt_too_long" for record in records)
    outcome = outcome_of(
        skipped=too_long or rows[0]["base_correct"] is None,
        supervised=not taught or any(record.trainable for record in records),
        base_right=bool(rows[0]["base_correct"]),
        adapter_right=bool(rows[0]["adapter_correct"]),
    )
    reason = None
    if outcome is Outcome.SKIPPED:
        reason = "prompt_too_long"
    elif outcome is Outcome.NO_SUPERVISION:
        reason = next((record.reason for record in records if record.reason), "no_attempt_accepted")
    elif taught and not records:
        reason = LEFT_OUT
    return Verdict(fact, outcome, reason, rows, mode)


def _rows(
    fact: Fact, base: Sequence[str | None], adapter: Sequence[str | None], mode: str, names: Names
) -> tuple[Row, ...]:
    """Return what was said to each question of a fact, and what to think of it."""
    right = scorer(mode)

    def judged(name: str, asked: Asked, text: str | None, before: str | None) -> dict[str, Any]:
        correct = None if text is None else right(text, asked.answers)
        kind = None
        if text is not None and not correct:
            about = (asked.question, asked.answers, mode, names)
            if asked.probe_kind in UNTAUGHT:
                kind = str(mistakes.of_held_out(text, before, *about))
            else:
                kind = str(mistakes.of_taught(text, fact, *about))
        return {f"{name}_answer": text, f"{name}_correct": correct, f"{name}_mistake": kind}

    return tuple(
        {
            "kind": asked.kind,
            "probe_kind": asked.probe_kind or None,
            "question": asked.question,
            "expected": asked.answers[0],
            **judged("base", asked, before, before),
            **judged("adapter", asked, after, before),
        }
        for asked, before, after in zip(questions_of(fact), base, adapter, strict=True)
    )


def _general(base: Measured, adapter: Measured, names: Names) -> Iterator[Row]:
    """Yield what was said to each question of the general set. One that does not fit counts as wrong."""
    right = scorer(GENERAL_MODE)
    for item, before, after in zip(general().items, base.general, adapter.general, strict=True):
        answers = (item.answer, *item.aliases)
        row: dict[str, Any] = {"id": item.id, "question": item.question, "expected": item.answer}
        for name, text in (("base", before), ("adapter", after)):
            correct = text is not None and right(text, answers)
            kind = None
            if not correct:
                kind = str(mistakes.of_held_out(text, before, item.question, answers, GENERAL_MODE, names))
            row |= {f"{name}_answer": text, f"{name}_correct": correct, f"{name}_mistake": kind}
        yield row


def _by_suite(rows: Iterable[Row]) -> dict[str, Sequence[Row]]:
    """Part rows by the suites they belong to; a probe belongs to all probes and to those of its kind."""
    parted: dict[str, list[Row]] = {name: [] for name in ("recall", "paraphrase", "probe", *PROBE_SUITES)}
    for row in rows:
        if row["base_correct"] is not None:
            parted["recall" if row["kind"] == "question" else row["kind"]].append(row)
            if row["probe_kind"]:
                parted[f"probe_{row['probe_kind']}"].append(row)
    return {name: found for name, found in parted.items() if found}


def _mistakes_of(suite: str, rows: Sequence[Row]) -> dict[str, Any]:
    held_out = suite == "general" or suite.removeprefix("probe_") in UNTAUGHT
    kinds: tuple[Mistake, ...] = mistakes.HELD_OUT if held_out else mistakes.TAUGHT
    counted: dict[str, Any] = {"suite": suite}
    for name in ("base", "adapter"):
        seen = Counter(row[f"{name}_mistake"] for row in rows)
        counted[name] = {str(kind): seen[str(kind)] for kind in kinds}
    return counted


def _share(suite: str, rows: Sequence[Row], config: EvalConfig) -> Score:
    return compare(
        suite,
        "accuracy",
        [float(row["base_correct"]) for row in rows],
        [float(row["adapter_correct"]) for row in rows],
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
