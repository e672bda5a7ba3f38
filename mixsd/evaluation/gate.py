"""The retention gate: what an adapter must keep, or it is held back. Loads no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixsd.config import PROBE_SUITES, EvalConfig, GateConfig
from mixsd.errors import ConfigError
from mixsd.evaluation.inferiority import Outcome, non_inferiority
from mixsd.evaluation.score import Score
from mixsd.facts import Fact


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate asked for, what was found, and what that comes to.

    Attributes:
        metric: Of the score; None if there was none.
        n: Items.
        difference: Adapter less base; `low` and `high` are bounds of it, each one-sided at `confidence`.
        lower_is_better: Whether the score is a loss.
        reason: Why the status is `inconclusive`; None otherwise.
    """

    status: Outcome
    suite: str
    max_drop: float
    confidence: float
    n: int
    metric: str | None = None
    base: float | None = None
    adapter: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    lower_is_better: bool = False
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"status": str(self.status)}


def decide(scores: Sequence[Score], config: GateConfig) -> Gate:
    """Test whether the adapter keeps what the gate asks for, by the marks of its suite.

    A suite that was not measured, or of no item, leaves the gate inconclusive.
    """
    asked = asdict(config)
    score = next((score for score in scores if score.suite == config.suite), None)
    if score is None or score.n == 0:
        reason = f"{config.suite} was not measured: none of its questions could be asked"
        return Gate(Outcome.INCONCLUSIVE, **asked, n=0, reason=reason)
    found = non_inferiority(
        score.base_marks,
        score.adapter_marks,
        max_drop=config.max_drop,
        confidence=config.confidence,
        lower_is_better=score.lower_is_better,
    )
    return Gate(
        found.outcome,
        **asked,
        n=found.n,
        metric=score.metric,
        base=score.base,
        adapter=score.adapter,
        difference=found.difference,
        low=found.low,
        high=found.high,
        lower_is_better=score.lower_is_better,
        reason=found.reason,
    )


def check(facts: Sequence[Fact], config: EvalConfig) -> None:
    """Refuse a gate on a suite that these facts have no question of, before anything is done for it.

    Raises:
        ConfigError: It is on such a suite.
    """
    if config.gate is None:
        return
    suite = config.gate.suite
    kinds = {probe.kind for fact in facts for probe in fact.probes}
    found = {
        "paraphrase": any(fact.paraphrases for fact in facts),
        "probe": bool(kinds),
        **{name: name.removeprefix("probe_") in kinds for name in PROBE_SUITES},
    }
    if not found.get(suite, True):
        raise ConfigError(
            f"gate.suite is {suite}, which is not measured: not one fact has a question of it; give them "
            "some, or take another suite"
        )
