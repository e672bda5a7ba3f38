"""Whether an export says what its adapter says: the certificate that goes with it.

Three things are asked. Is the adapter applied at all? Are the answers of the ledger right as before?
And are log-probabilities as close to the adapter's as no adapter at all would let them be? See
`docs/exports.md`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from mixsd.exports.ledger import DECISIVE, Entry
from mixsd.exports.reading import Reading, distance, largest_distance

ALLOWED: Final = 2.0
"""How many times the noise the distance from the adapter may be."""
LISTED: Final = 100
"""Changes of answers that a certificate lists."""

Status = Literal["passed", "failed", "not_checked"]


@dataclass(frozen=True, slots=True)
class Noise:
    """How far readings are apart that have no adapter to do with, in nats per token of the worst text.

    Attributes:
        batching: The base model asked one by one, and side by side.
        engine: The base model as we load it, and as the engine does.
        rounding: The base model, and the same after the adapter was added in the type of the export and
            taken off again. None where nothing is added to its weights.
        resolution: The spacing of float32 at the largest logit.
    """

    batching: float
    engine: float
    rounding: float | None
    resolution: float

    @property
    def floor(self) -> float:
        """What both do together: how a model is computed, and how its weights are rounded."""
        return max(self.batching, self.engine, self.resolution) + (self.rounding or 0.0)


@dataclass(frozen=True, slots=True)
class Reference:
    """Readings of the same texts by the models that an export is compared with.

    `base` and `adapter` are as we load them, the adapter on its base and not merged.
    """

    base: Reading
    adapter: Reading
    noise: Noise


@dataclass(frozen=True, slots=True)
class Change:
    """An answer that is another one than the adapter's."""

    fact_key: str
    kind: str
    question: str
    adapter_answer: str
    export_answer: str | None
    adapter_correct: bool
    export_correct: bool


@dataclass(frozen=True, slots=True)
class Certificate:
    """What came of the check of an export. Distances are nats per token.

    Attributes:
        engine: What loaded the export.
        reasons: Why it failed, or was not checked.
        applied: Whether the adapter has an effect. None: it has none on its own base model either.
        shift: How far the adapter is from its base model.
        distance: How far the export is from the adapter.
        distance_to_base: How far it is from the base model.
        asked: Questions of the ledger.
        right: Those that the export answers rightly.
        right_before: Those that the adapter does.
        changed: Answers that differ in wording, the first of which are `changes`.
        facts_changed: Facts whose training question is answered rightly by one of the two alone.
    """

    status: Status
    engine: str
    reasons: tuple[str, ...] = ()
    applied: bool | None = None
    shift: float | None = None
    distance: float | None = None
    distance_to_base: float | None = None
    noise: Noise | None = None
    texts: int = 0
    asked: int = 0
    right: int = 0
    right_before: int = 0
    changed: int = 0
    facts_changed: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, which knows no numbers that are none."""
        noise = None if self.noise is None else _finite(asdict(self.noise) | {"floor": self.noise.floor})
        return _finite(asdict(self)) | {"allowed": ALLOWED, "noise": noise}


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def not_checked(engine: str, reason: str) -> Certificate:
    """Return what stands in place of a certificate where the engine is not at hand."""
    return Certificate("not_checked", engine, (reason,))


def certify(
    engine: str,
    entries: Sequence[Entry],
    reference: Reference,
    export: Reading,
    answers: Sequence[str | None],
) -> Certificate:
    """Judge an export by what it said.

    Args:
        engine: What loaded it.
        entries: The ledger of the adapter.
        reference: What it is compared with.
        export: Its reading of the texts of `reference`.
        answers: What it says to each question of the ledger; None where a question does not fit it.
    """
    changes = [change for change in map(_change, entries, answers) if change]
    facts = tuple(
        change.fact_key
        for change in changes
        if change.kind == DECISIVE and change.adapter_correct != change.export_correct
    )
    gained = sum(change.export_correct - change.adapter_correct for change in changes)
    before = sum(entry.correct for entry in entries)
    figures: dict[str, Any] = {
        "shift": distance(reference.adapter, reference.base),
        "distance": distance(export, reference.adapter),
        "distance_to_base": distance(export, reference.base),
    }
    most = ALLOWED * reference.noise.floor
    applied = _applied(figures, most)
    reasons = tuple(_reasons(figures, most, applied, facts, len(reference.adapter.nats)))
    return Certificate(
        "failed" if reasons else "passed",
        engine,
        reasons,
        applied=applied,
        noise=reference.noise,
        texts=len(reference.adapter.nats),
        asked=len(entries),
        right=before + gained,
        right_before=before,
        changed=len(changes),
        facts_changed=facts,
        changes=tuple(changes[:LISTED]),
        **figures,
    )


def noise_of(
    base: Reading, batched: Reading, by_engine: Reading, rounded: Reading | None, adapter: Reading
) -> Noise:
    """Put together what readings without an adapter differ by."""
    return Noise(
        batching=largest_distance(base, batched),
        engine=largest_distance(base, by_engine),
        rounding=None if rounded is None else largest_distance(base, rounded),
        resolution=max(base.resolution, adapter.resolution),
    )


def _applied(figures: Mapping[str, float], most: float) -> bool | None:
    if figures["shift"] <= most:
        return None
    nearer = figures["distance"] < figures["distance_to_base"]
    return nearer and figures["distance_to_base"] > most


def _reasons(
    figures: Mapping[str, float], most: float, applied: object, facts: Sequence[str], texts: int
) -> list[str]:
    reasons = []
    if not texts:
        reasons.append("the adapter has said nothing that could be compared")
    if applied is False:
        reasons.append(
            f"the adapter is not applied: the export is {figures['distance_to_base']:.2g} nats per token "
            f"from the base model, and the adapter {figures['shift']:.2g}"
        )
    if not figures["distance"] <= most:  # also where it is no number
        reasons.append(
            f"log-probabilities are {figures['distance']:.2g} nats per token from the adapter's, and noise "
            f"lets them be {most:.2g}"
        )
    if facts:
        some = ", ".join(facts[:5]) + (" and others" if len(facts) > 5 else "")
        reasons.append(f"the outcome of {len(facts)} facts has changed: {some}")
    return reasons


def _change(entry: Entry, answer: str | None) -> Change | None:
    if answer == entry.said:
        return None
    return Change(
        fact_key=entry.fact_key,
        kind=entry.kind,
        question=entry.question,
        adapter_answer=entry.said,
        export_answer=answer,
        adapter_correct=entry.correct,
        export_correct=answer is not None and entry.judge(answer),
    )
