"""Settings of a run, checked where they are made. Nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

from mixsd.config.evaluation import GATE_SUITES, PROBE_SUITES, SCORERS, EvalConfig, GateConfig
from mixsd.config.methods import (
    DIVERGENCES,
    LOOKUPS,
    MAX_LAYER,
    MAX_REWORDINGS,
    MAX_SEED,
    PROMPT_STYLES,
    REWORDINGS_SOURCES,
    SFT_TARGETS,
    VERIFIERS,
    WORDING_TEXTS,
    KlConfig,
    MemitConfig,
    MixConfig,
    OpsdConfig,
    ReplayConfig,
    SftConfig,
)
from mixsd.config.training import (
    KEPT_RATIO,
    KNOWN_FACTS,
    MAX_PROCESSES,
    PRECISIONS,
    QUANTIZATIONS,
    REPLAY_PROMPTS,
    RETENTION_PROMPTS,
    RETENTIONS,
    SCHEDULES,
    SHARDINGS,
    LoraConfig,
    RetentionConfig,
    TrainConfig,
)
from mixsd.errors import ConfigError

__all__ = [
    "DIVERGENCES",
    "GATE_SUITES",
    "IN_CONTEXT",
    "KEPT_RATIO",
    "KNOWN_FACTS",
    "LOOKUPS",
    "MAX_LAYER",
    "MAX_PROCESSES",
    "MAX_REWORDINGS",
    "MAX_SEED",
    "METHODS",
    "PRECISIONS",
    "PROBE_SUITES",
    "PROMPT_STYLES",
    "QUANTIZATIONS",
    "REPLAY_PROMPTS",
    "RETAINED",
    "RETENTIONS",
    "RETENTION_PROMPTS",
    "REWORDINGS_SOURCES",
    "SCHEDULES",
    "SCORERS",
    "SFT_TARGETS",
    "SHARDINGS",
    "VERIFIERS",
    "WORDING_TEXTS",
    "EvalConfig",
    "GateConfig",
    "KlConfig",
    "LoraConfig",
    "MemitConfig",
    "MethodConfig",
    "MixConfig",
    "OpsdConfig",
    "Plan",
    "ReplayConfig",
    "RetentionConfig",
    "SftConfig",
    "TrainConfig",
]


MethodConfig = MixConfig | SftConfig | ReplayConfig | KlConfig | OpsdConfig | MemitConfig

METHODS: Final[Mapping[str, type[MethodConfig]]] = MappingProxyType(
    {
        "mixsd": MixConfig,
        "sft": SftConfig,
        "replay": ReplayConfig,
        "kl": KlConfig,
        "opsd": OpsdConfig,
        "memit": MemitConfig,
    }
)
"""Names of methods. `replay` and `kl` are `sft` with the retention of that name."""


RETAINED: Final[Mapping[str, str]] = MappingProxyType({"mixsd": "kl", "replay": "replay", "kl": "kl"})
"""Methods that bring a retention with them: what `auto` comes to. With others it is none."""

IN_CONTEXT: Final = "in_context"
"""What a comparison has beside them: nothing is taught, the fact stands in the prompt."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides a run, but for the facts and the base model."""

    method: MethodConfig = field(default_factory=MixConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        kind, retention = self.method_type, self.training.retention.type
        if kind in RETENTIONS and kind != retention:
            raise ConfigError(f"the method {kind} needs training.retention.type {kind}, got {retention!r}")
        if isinstance(self.method, MemitConfig) and retention != "none":
            raise ConfigError(
                f"the method memit edits weights and trains nothing, so training.retention.type {retention} "
                "has no place: set it to none, or take another method"
            )
        if isinstance(self.method, OpsdConfig) and self.training.shard != "none":
            raise ConfigError(
                "the method opsd writes texts before every step, for which each process needs the whole base "
                "model: set training.shard to none, or take another method"
            )

    @property
    def method_type(self) -> str:
        return next(name for name, kind in METHODS.items() if type(self.method) is kind)

    @property
    def generations(self) -> int:
        return self.method.generations if isinstance(self.method, MixConfig) else 1

    @property
    def rewordings(self) -> int:
        return self.method.rewordings

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain data, for manifests and digests."""
        evaluation = asdict(self.evaluation)
        if self.evaluation.gate is None:  # a run without one is what it was before there were any
            del evaluation["gate"]
        training = asdict(self.training)
        if self.training.known_facts == "train":  # likewise
            del training["known_facts"]
        if self.training.kept_ratio == KEPT_RATIO:  # likewise
            del training["kept_ratio"]
        if self.training.learning_rate_multiplier == 1:  # likewise
            del training["learning_rate_multiplier"]
        return {
            "method": {"type": self.method_type, **_plain(asdict(self.method))},
            "training": _plain(training),
            "evaluation": _plain(evaluation),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
