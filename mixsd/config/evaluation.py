"""Settings of the evaluation, checked where they are made. Nothing here loads torch."""

from dataclasses import dataclass
from typing import Final

from mixsd.bounds import one_of, within
from mixsd.config.methods import VERIFIERS
from mixsd.errors import ConfigError
from mixsd.facts import PROBE_KINDS

SCORERS: Final = (
    *(name for name in VERIFIERS if name != "regex"),
    *("boxed_chain", "boxed_loose", "boxed_or_text", "first_sentence"),
)
"""How an answer can be scored, see `mixsd.scoring`."""
PROBE_SUITES: Final = tuple(f"probe_{kind}" for kind in PROBE_KINDS)
"""Probes by their kind."""
SHARES: Final = ("recall", "paraphrase", "probe", *PROBE_SUITES, "general")
"""Suites that are shares of right answers."""
GATE_SUITES: Final = (*SHARES, "drift")
"""Suites that a gate may stand on."""
SWITCHED: Final = ("general", "drift")
"""Suites that can be switched off."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What an adapter must keep, or it is held back. See `mixsd.evaluation.gate`.

    Attributes:
        suite: The score it stands on.
        max_drop: The largest loss that is still taken: a share of the items, or nats per token of drift.
        confidence: Of each bound of the difference.
    """

    suite: str
    max_drop: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        one_of("gate.suite", self.suite, GATE_SUITES)
        within("gate.max_drop", self.max_drop, 0, 100)
        if self.suite in SHARES and self.max_drop >= 1:
            raise ConfigError(
                f"gate.max_drop must be below 1 for the suite {self.suite}, got {self.max_drop}: it is a "
                "share of the items, so 0.05 are five points"
            )
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"gate.confidence must be in [0.5, 1), got {self.confidence}")


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """What is measured.

    Attributes:
        max_new_tokens: Cap of an answer.
        batch_size: Questions asked side by side.
        verifier: How an answer is scored, see `mixsd.scoring`.
        general: Ask the built-in general-knowledge set.
        drift: Measure the base model's own answers to open prompts under the adapter.
        bootstrap: Resamples of the interval of a difference.
        confidence: Of the intervals of scores.
        gate: What the adapter must keep; None holds nothing back.
    """

    max_new_tokens: int = 40
    batch_size: int = 64
    verifier: str = "contains"
    general: bool = True
    drift: bool = True
    bootstrap: int = 10_000
    confidence: float = 0.95
    gate: GateConfig | None = None

    def __post_init__(self) -> None:
        within("max_new_tokens", self.max_new_tokens, 1, 8192)
        within("batch_size", self.batch_size, 1, 1024)
        one_of("verifier", self.verifier, SCORERS)
        within("bootstrap", self.bootstrap, 100, 1_000_000)
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"confidence must be in [0.5, 1), got {self.confidence}")
        suite = self.gate.suite if self.gate else ""
        if suite in SWITCHED and not getattr(self, suite):
            raise ConfigError(
                f"gate.suite is {suite}, which is not measured: set evaluation.{suite} to true, or take "
                "another suite"
            )
