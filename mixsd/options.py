"""From options, as they come in JSON or TOML, to a plan. Nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from types import MappingProxyType
from typing import Any, Final, TypeVar, get_args, get_origin

from mixsd.bounds import one_of
from mixsd.config import (
    IN_CONTEXT,
    METHODS,
    RETAINED,
    EvalConfig,
    GateConfig,
    LoraConfig,
    MethodConfig,
    Plan,
    RetentionConfig,
    TrainConfig,
)
from mixsd.errors import ConfigError


def plan_from(
    *,
    method: Mapping[str, Any] = MappingProxyType({}),
    training: Mapping[str, Any] = MappingProxyType({}),
    evaluation: Mapping[str, Any] = MappingProxyType({}),
) -> Plan:
    """Return the plan that options of the form of the API's ask for; the rest takes its default.

    Raises:
        ConfigError: An option is unknown, of the wrong type or out of bounds.
    """
    options = dict(training)
    names = {item.name for item in fields(LoraConfig)}
    shape = {name: options.pop(name) for name in names if name in options}
    retained = options.pop("retention", {})
    settings = {name: value for name, value in method.items() if name != "type"}
    kind = str(method.get("type", "mixsd"))
    if kind == IN_CONTEXT:
        raise ConfigError(
            f"method.type {IN_CONTEXT} is a row of `mixsd compare` and makes no adapter: the fact stands in "
            f"the prompt. Those that make one are {', '.join(METHODS)}"
        )
    one_of("method.type", kind, tuple(METHODS))
    return Plan(
        method=_make(METHODS[kind], "method", settings),
        training=replace(
            _make(TrainConfig, "training", options),
            lora=_make(LoraConfig, "training", shape),
            retention=_retention(kind, retained),
        ),
        evaluation=_evaluation(evaluation),
    )


def _evaluation(options: Mapping[str, Any]) -> EvalConfig:
    settings = dict(options)
    gate = settings.pop("gate", None)
    if gate is not None and not isinstance(gate, Mapping):
        raise ConfigError(f"evaluation.gate must be an object, got {gate!r}")
    config = _make(EvalConfig, "evaluation", settings)
    return config if gate is None else replace(config, gate=_make(GateConfig, "evaluation.gate", gate))


def _retention(method: str, options: Any) -> RetentionConfig:
    """Return the retention that options ask for, or that a method brings with it."""
    if not isinstance(options, Mapping):
        raise ConfigError(f"training.retention must be an object, got {options!r}")
    left_open = options.get("type", "auto") == "auto"
    kind = {"type": RETAINED.get(method, "none")} if left_open else {}
    return _make(RetentionConfig, "training.retention", {**options, **kind})


Config = TypeVar(
    "Config", bound=MethodConfig | TrainConfig | EvalConfig | GateConfig | LoraConfig | RetentionConfig
)


def _make(kind: type[Config], part: str, options: Mapping[Any, Any]) -> Config:
    known = {item.name for item in fields(kind)} - {"gate", "lora", "retention"}
    for name in options:
        if name not in known:
            raise ConfigError(f"{part}.{name} is no setting; those are {', '.join(sorted(known))}")
    for item in fields(kind):
        if (
            item.name in known - options.keys()
            and item.default is MISSING
            and item.default_factory is MISSING
        ):
            raise ConfigError(f"{part}.{item.name} is missing")
    types = {item.name: item.type for item in fields(kind)}
    values: dict[str, Any] = {
        name: _typed(f"{part}.{name}", value, types[name]) for name, value in options.items()
    }
    return kind(**values)


_TYPES: Final[Mapping[Any, tuple[str, type | tuple[type, ...]]]] = MappingProxyType(
    {
        bool: ("true or false", bool),
        int: ("a whole number", int),
        float: ("a number", (int, float)),
        str: ("a text", str),
    }
)


def _typed(name: str, value: Any, wanted: Any) -> Any:
    """Return a value that came as JSON as what a setting holds: 1 and 1.0 are one setting."""
    if type(None) in get_args(wanted):
        return None if value is None else _typed(name, value, get_args(wanted)[0])
    if get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return tuple(_typed(name, item, get_args(wanted)[0]) for item in value)
    said, allowed = _TYPES[wanted]
    if not isinstance(value, allowed) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{name} must be {said}, got {value!r}")
    if wanted is not float:
        return value
    number: Any = value
    try:
        return float(number)
    except OverflowError:
        raise ConfigError(f"{name} is too large") from None
