"""Settings of a run, checked where they are made. Nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

from mixsd.bounds import one_of, within
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
    MAX_PROCESSES,
    PRECISIONS,
    QUANTIZATIONS,
    REPLAY_PROMPTS,
    RETENTION_PROMPTS,
    RETENTIONS,
    SCHEDULES,
    LoraConfig,
    RetentionConfig,
    TrainConfig,
)
from mixsd.errors import ConfigError

__all__ = [
    "DIVERGENCES",
    "IN_CONTEXT",
    "LOOKUPS",
    "MAX_LAYER",
    "MAX_PROCESSES",
    "MAX_REWORDINGS",
    "MAX_SEED",
    "METHODS",
    "PRECISIONS",
    "PROMPT_STYLES",
    "QUANTIZATIONS",
    "REPLAY_PROMPTS",
    "RETAINED",
    "RETENTIONS",
    "RETENTION_PROMPTS",
    "REWORDINGS_SOURCES",
    "SCHEDULES",
    "SFT_TARGETS",
    "VERIFIERS",
    "WORDING_TEXTS",
    "EvalConfig",
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


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """What is measured.

    Attributes:
        max_new_tokens: Cap of an answer.
        batch_size: Questions asked side by side.
        verifier: How an answer is scored, see `mixsd.answers`.
        general: Ask the built-in general-knowledge set.
        drift: Measure the base model's own answers to open prompts under the adapter.
        bootstrap: Resamples of the interval of a difference.
        confidence: Of that interval.
    """

    max_new_tokens: int = 40
    batch_size: int = 64
    verifier: str = "contains"
    general: bool = True
    drift: bool = True
    bootstrap: int = 10_000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        within("max_new_tokens", self.max_new_tokens, 1, 8192)
        within("batch_size", self.batch_size, 1, 1024)
        one_of("verifier", self.verifier, tuple(name for name in VERIFIERS if name != "regex"))
        within("bootstrap", self.bootstrap, 100, 1_000_000)
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"confidence must be in [0.5, 1), got {self.confidence}")


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
        return {
            "method": {"type": self.method_type, **_plain(asdict(self.method))},
            "training": _plain(asdict(self.training)),
            "evaluation": _plain(asdict(self.evaluation)),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
