"""Methods of a comparison, by name: presets of ours, and plans that a user gives. Loads no torch."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mixsd.config import IN_CONTEXT, Plan
from mixsd.errors import ConfigError
from mixsd.options import plan_from

MEMIT: Final = "memit"
"""Edits weights, and takes no step of training."""

Settings = Mapping[str, Mapping[str, Any]]
"""Options in the form of the API's, by their part: `method` and `training`."""

_LAMS: Final = ("0", "0.3", "0.5", "0.7")


def _mixsd(*, rewordings: int = 0, retention: str = "none", **options: Any) -> Settings:
    """Return MixSD as the paper has it: nothing reworded, nothing beside the facts, unless it is named."""
    bare = {"hint": "context", "opening": "", "verifier": "contains", "fallback_to_answer": False}
    method = {"type": "mixsd", "rewordings": rewordings, "end_at_answer": False, **bare, **options}
    return {"method": method, "training": {"retention": {"type": retention}}}


def _fixed(lam: str, *, guard: bool = False) -> Settings:
    options: dict[str, Any] = {"answer_guard": True} if guard else {}
    return _mixsd(lam=float(lam), lam_backoff=[], **options)


PRESETS: Final[Mapping[str, Settings]] = MappingProxyType(
    {
        "sft": {"method": {"type": "sft"}},
        "sft-natural": {"method": {"type": "sft", "target": "natural"}},
        "sft+rewordings": {"method": {"type": "sft", "rewordings": 4}},
        "sft+both": {"method": {"type": "sft", "rewordings": 4}, "training": {"retention": {"type": "kl"}}},
        "mixsd": {"method": {"type": "mixsd"}},
        "mixsd-bare": _mixsd(),
        **{f"mixsd-lam{lam}": _fixed(lam) for lam in _LAMS},
        **{f"mixsd-lam{lam}-guarded": _fixed(lam, guard=True) for lam in _LAMS[1:]},
        "mixsd-bare+rewordings": _mixsd(rewordings=4),
        "mixsd-bare+replay": _mixsd(retention="replay"),
        "mixsd-bare+kl": _mixsd(retention="kl"),
        "replay": {"method": {"type": "replay"}},
        "kl": {"method": {"type": "kl"}},
        "opsd": {"method": {"type": "opsd"}},
        "opsd-nll": {"method": {"type": "opsd", "loss": "nll", "temperature": 0.0}},
        MEMIT: {"method": {"type": MEMIT}},
        IN_CONTEXT: {"method": {"type": IN_CONTEXT}},
    }
)
"""Those that `plan_from` does not know are refused and not shown."""

DEFAULTS: Final = ("sft", "mixsd")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_PARTS: Final = ("method", "training")
_DECIDED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "method": frozenset({"seed"}),
        "training": frozenset(
            {"seed", "epochs", "min_steps", "max_steps", "stop_when_learned", "eval_every", "patience"}
        ),
    }
)
"""Settings that the comparison decides: for all methods alike, or from seed and budget."""

_EPOCHS: Final = 1000
"""The most there may be: the budget of steps ends a training."""


@dataclass(frozen=True, slots=True)
class Match:
    """What methods have in common when they are compared.

    Attributes:
        by: `steps`: each is trained for so many; `recall`: each is trained until it answers that
            share of the training questions, or for so many steps.
        steps: Optimizer steps, or the most of them.
        recall: Share to reach.
        every: Steps between two looks at it.
    """

    by: str = "steps"
    steps: int = 96
    recall: float = 0.9
    every: int = 8

    def __post_init__(self) -> None:
        if self.by not in {"steps", "recall"}:
            raise ConfigError(f"match must be steps or recall, got {self.by!r}")
        if not 1 <= self.steps <= 1_000_000:
            raise ConfigError(f"steps must be in [1, 1000000], got {self.steps}")
        if not 0 < self.recall <= 1:
            raise ConfigError(f"recall must be in (0, 1], got {self.recall}")
        if not 1 <= self.every <= 1_000_000:
            raise ConfigError(f"every must be in [1, 1000000], got {self.every}")

    def to_json(self) -> dict[str, Any]:
        """Return what decides a row."""
        return asdict(self) if self.by == "recall" else {"by": self.by, "steps": self.steps}


@dataclass(frozen=True, slots=True)
class Common:
    """Settings of every method, in the form of the API's; those of a method go before them."""

    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """A method by its name in the comparison, with the options that make it."""

    name: str
    method: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def makes_adapter(self) -> bool:
        """Whether there is something to make, once for each seed."""
        return bool(self.method.get("type", "mixsd") != IN_CONTEXT)

    @property
    def is_trained(self) -> bool:
        """Whether it takes steps, and so has a budget of them."""
        return self.makes_adapter and bool(self.method.get("type", "mixsd") != MEMIT)

    def plan(self, seed: int, match: Match, common: Common = Common()) -> Plan:
        """Return the plan of one run. What is not trained has one for its evaluation alone.

        Raises:
            ConfigError: An option is unknown or out of bounds, or the comparison decides it.
        """
        _check_parts(self.name, {"method": self.method, "training": self.training})
        _check_parts("the settings of all methods", {"training": common.training})
        training = {**common.training, **self.training}
        if isinstance(retention := training.get("retention"), Mapping):
            training["retention"] = {"seed": seed, **retention}
        budget = {"epochs": _EPOCHS, "max_steps": match.steps, "stop_when_learned": False, "seed": seed}
        try:
            if not self.makes_adapter:
                return plan_from(evaluation=common.evaluation)
            if not self.is_trained:
                return self._untrained(seed, common)
            plan = plan_from(
                method={**self.method, "seed": seed},
                training={**training, **budget},
                evaluation=common.evaluation,
            )
        except ConfigError as error:
            raise ConfigError(f"method {self.name}: {error}") from None
        if match.by == "recall" and plan.training.schedule != "constant":
            raise ConfigError(
                f"method {self.name}: with --match recall nobody knows how long a run will be, so the "
                f"schedule must be constant, got {plan.training.schedule!r}"
            )
        return plan

    def _untrained(self, seed: int, common: Common) -> Plan:
        """Return a plan without settings of the training: those of all methods pass this one by."""
        if self.training:
            raise ConfigError("it is not trained, so it takes no settings of `training`: leave them out")
        return plan_from(method={**self.method, "seed": seed}, evaluation=common.evaluation)


def presets() -> list[str]:
    """Return the names of the presets that this version can run."""
    return [name for name, settings in PRESETS.items() if _problem_of(name, settings) is None]


def methods_of(words: Sequence[str], own: Mapping[str, Settings] = MappingProxyType({})) -> list[Method]:
    """Return the methods that a user names, in that order.

    Args:
        words: Names, or `name=JSON` with an object of `method` and `training`.
        own: Plans of the user's, by name, which come from a file.

    Raises:
        ConfigError: A name is unknown, taken or given twice, or its plan is none.
    """
    methods = [_method_of(word, own) for word in words]
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"the method {name} is named twice")
    return methods


def read_plans(path: Path) -> dict[str, Settings]:
    """Read plans by name from a file: TOML if it is called so, else JSON.

    Raises:
        ConfigError: It is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as plans: {error}") from error
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{path}: expected plans by name, each with `method` and `training`")
    return {name: own_settings(name, value) for name, value in found.items()}


def _method_of(word: str, own: Mapping[str, Settings]) -> Method:
    name, given, text = word.partition("=")
    if given:
        try:
            settings = own_settings(name, json.loads(text))
        except (ValueError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"method {name}: what follows the = is no JSON: {error}") from error
    elif name in own:
        settings = own[name]
    elif name in PRESETS:
        settings = PRESETS[name]
        if problem := _problem_of(name, settings):
            raise ConfigError(f"the method {name} is not part of this version: {problem}")
    else:
        known = ", ".join((*own, *presets()))
        raise ConfigError(f"there is no method {name!r}; those are {known}, or name=JSON with a plan")
    return Method(name, settings["method"], settings.get("training", {}))


def own_settings(name: str, value: Any) -> Settings:
    """Return a plan of the user's as it is read from a file, without its values being checked.

    Raises:
        ConfigError: The name is none or that of a preset, or it has other parts than a plan.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"method {name!r}: a name is 1 to 40 letters, digits or . _ + -")
    if name in PRESETS:
        raise ConfigError(f"method {name}: that is the name of a preset; choose another")
    if not isinstance(value, dict) or "method" not in value:
        raise ConfigError(f"method {name}: expected an object with `method`, and maybe `training`")
    for part, options in value.items():
        if part not in _PARTS or not isinstance(options, dict):
            raise ConfigError(f"method {name}: {part}: expected objects `method` and `training` alone")
    _check_parts(name, value)
    return {part: dict(options) for part, options in value.items()}


def _check_parts(name: str, settings: Settings) -> None:
    for part, options in settings.items():
        for option in _decided(part, options):
            raise ConfigError(f"method {name}: {part}.{option} is decided by the comparison: leave it out")


def _decided(part: str, options: Mapping[str, Any]) -> Iterator[str]:
    return (option for option in options if option in _DECIDED[part])


def _problem_of(name: str, settings: Settings) -> str | None:
    """Return why a preset cannot be run, if it cannot."""
    try:
        Method(name, settings["method"], settings.get("training", {})).plan(0, Match())
    except ConfigError as error:
        return str(error)
    return None
