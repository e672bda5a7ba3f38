"""What a job may ask for is what the library can do."""

from dataclasses import MISSING, asdict, fields
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from app.jobs.requests import (
    EvaluationOptions,
    GateOptions,
    GateSuite,
    JobCreate,
    MemitMethod,
    MixsdMethod,
    OpsdMethod,
    RetentionOptions,
    SftMethod,
    TrainingOptions,
)
from app.ledger.schemas import Outcome
from mixsd.config import (
    GATE_SUITES,
    METHODS,
    EvalConfig,
    GateConfig,
    LoraConfig,
    MemitConfig,
    MixConfig,
    OpsdConfig,
    RetentionConfig,
    SftConfig,
    TrainConfig,
)
from mixsd.errors import ConfigError
from mixsd.evaluation.outcomes import Outcome as LibraryOutcome
from mixsd.options import plan_from

OUR_OWN = {"type", "lora", "retention", "batch_facts", "checkpoint_seconds"}
"""Settings that one side has and the other decides by itself."""

LORA = {field.name for field in fields(LoraConfig)}
PROBED: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 64, 65, 100, 99, 512, 513, 1000, 1001, 1024, 1025, 4096, 4097, 8192, 8193),
    *(100_000, 100_001, 1_000_000, 1_000_001, 10_000_000, 10_000_001, 2**63 - 1, 2**63),
    *(0.001, 0.0009, 0.01, 0.009, 16.0, 16.1),
    *(-0.1, 0.0, 0.1, 0.49, 0.5, 0.99, 1.0, 1.1, 5.0, 5.1, 1000.0, 1000.1, 4096.0, 4096.1),
)


def defaults_of(kind: Any) -> dict[str, Any]:
    found = {}
    for field in fields(kind):
        default = field.default if field.default is not MISSING else None
        found[field.name] = list(default) if isinstance(default, tuple) else default
    return {name: value for name, value in found.items() if name not in OUR_OWN}


@pytest.mark.parametrize(
    ("request_model", "config"),
    [
        (MixsdMethod(type="mixsd"), defaults_of(MixConfig)),
        (SftMethod(type="sft"), defaults_of(SftConfig)),
        (OpsdMethod(type="opsd"), defaults_of(OpsdConfig)),
        (MemitMethod(type="memit"), defaults_of(MemitConfig)),
        (RetentionOptions(), defaults_of(RetentionConfig)),
        (TrainingOptions(), defaults_of(LoraConfig) | defaults_of(TrainConfig)),
        (EvaluationOptions(), {k: v for k, v in defaults_of(EvalConfig).items() if k != "batch_size"}),
    ],
)
def test_defaults_are_those_of_the_library(request_model: BaseModel, config: dict[str, Any]) -> None:
    assert {k: v for k, v in request_model.model_dump().items() if k not in OUR_OWN} == config


def test_gates_of_api_and_library_are_alike() -> None:
    assert get_args(GateSuite) == GATE_SUITES
    for suite in GATE_SUITES:
        options = GateOptions.model_validate({"suite": suite, "max_drop": 0.5})
        assert options.model_dump() == asdict(GateConfig(suite, 0.5))
        for name in ("max_drop", "confidence"):
            for value in PROBED:
                settings: dict[str, Any] = {"suite": suite, "max_drop": 0.5, name: value}
                assert is_gate(GateOptions, settings) == is_gate(GateConfig, settings), settings


def is_gate(kind: type[GateOptions | GateConfig], settings: dict[str, Any]) -> bool:
    try:
        kind(**settings)
    except (ConfigError, ValidationError):
        return False
    return True


def test_a_gate_reaches_the_library_as_it_was_asked_for() -> None:
    gate = {"suite": "drift", "max_drop": 0.1, "confidence": 0.9}

    settings = a_job(method={"type": "sft"}, evaluation={"gate": gate}).settings()

    assert settings["evaluation"]["gate"] == gate
    assert plan_from(evaluation=settings["evaluation"]).evaluation.gate == GateConfig("drift", 0.1, 0.9)
    without = a_job(method={"type": "sft"}).settings()
    assert plan_from(evaluation=without["evaluation"]).evaluation.gate is None


def numbers_of(kind: Any, *, without: frozenset[str] = frozenset()) -> list[tuple[Any, str, type[Any]]]:
    return [
        (kind, field.name, type(field.default))
        for field in fields(kind)
        if type(field.default) in {int, float} and field.name not in OUR_OWN | without
    ]


@pytest.mark.parametrize(
    ("config", "name", "kind"),
    [
        *numbers_of(MixConfig),
        *numbers_of(OpsdConfig),
        *numbers_of(MemitConfig),
        *numbers_of(RetentionConfig),
        *numbers_of(SftConfig),
        *numbers_of(LoraConfig),
        *numbers_of(TrainConfig),
        *numbers_of(EvalConfig, without=frozenset({"batch_size"})),
    ],
)
def test_bounds_are_those_of_the_library(config: Any, name: str, kind: type[Any]) -> None:
    values = [value for value in PROBED if isinstance(value, kind)]

    assert [accepts(value, config, name) for value in values] == [
        allows(value, config, name) for value in values
    ]


def accepts(value: Any, config: Any, name: str) -> bool:
    try:
        config(**{name: value})
    except ConfigError:
        return False
    return True


def allows(value: Any, config: Any, name: str) -> bool:
    try:
        if config is MixConfig:
            MixsdMethod.model_validate({"type": "mixsd", name: value})
        elif config is SftConfig:
            SftMethod.model_validate({"type": "sft", name: value})
        elif config is OpsdConfig:
            OpsdMethod.model_validate({"type": "opsd", name: value})
        elif config is MemitConfig:
            MemitMethod.model_validate({"type": "memit", name: value})
        elif config is RetentionConfig:
            RetentionOptions.model_validate({name: value})
        elif config is EvalConfig:
            EvaluationOptions.model_validate({name: value})
        else:
            TrainingOptions.model_validate({name: value})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("pattern", ["", "no place", "({answer}", "{answer}{99999999999}"])
def test_a_pattern_must_hold_the_answer_and_compile(pattern: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        MixsdMethod(type="mixsd", verifier="regex", pattern=pattern)


def test_a_good_pattern_is_taken() -> None:
    assert MixsdMethod(type="mixsd", verifier="regex", pattern=r"\b{answer}\b").pattern == r"\b{answer}\b"


def test_api_and_library_know_the_same_outcomes() -> None:
    assert [str(outcome) for outcome in Outcome] == [str(outcome) for outcome in LibraryOutcome]


def a_job(**parts: Any) -> JobCreate:
    return JobCreate.model_validate({"base_model": "x", "fact_set_id": "facts_1", **parts})


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_library_can_be_asked_for_and_keeps_its_name(name: str) -> None:
    settings = a_job(method={"type": name}).settings()

    plan = plan_from(method=settings["method"], training=settings["training"])

    assert plan.method_type == settings["method"]["type"] == name
    assert plan == plan_from(method={"type": name})


@pytest.mark.parametrize("name", ["replay", "kl"])
def test_a_method_that_names_a_retention_has_it_in_its_settings(name: str) -> None:
    settings = a_job(method={"type": name}, training={"retention": {"ratio": 0.25}}).settings()

    assert settings["training"]["retention"]["type"] == name
    assert settings["training"]["retention"]["ratio"] == 0.25


def test_a_retention_that_is_left_open_is_written_out() -> None:
    for name, kind in (("mixsd", "kl"), ("sft", "none"), ("opsd", "none"), ("memit", "none")):
        assert a_job(method={"type": name}).settings()["training"]["retention"]["type"] == kind


def test_a_retention_goes_with_another_method() -> None:
    settings = a_job(method={"type": "mixsd"}, training={"retention": {"type": "kl"}}).settings()

    plan = plan_from(method=settings["method"], training=settings["training"])

    assert (plan.method_type, plan.training.retention.type) == ("mixsd", "kl")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"method": {"type": "replay"}, "training": {"retention": {"type": "kl"}}},
            "the method `replay` goes with `training.retention` of that type, not `kl`",
        ),
        (
            {"method": {"type": "kl"}, "training": {"retention": {"type": "none"}}},
            "the method `kl` goes with `training.retention` of that type, not `none`",
        ),
        ({"method": {"type": "opsd", "temperature": 0.0, "rollouts": 2}}, "`rollouts` must be 1"),
        ({"method": {"type": "opsd", "loss": "both"}}, "loss"),
        ({"method": {"type": "in_context"}}, "`in_context` is a row of `mixsd compare` and makes no adapter"),
        ({"method": {"type": "memit", "layers": [2, 2]}}, "`layers` must name each layer once"),
        ({"method": {"type": "memit", "layers": [-1]}}, "layers"),
        ({"method": {"type": "memit", "lookup": "answer"}}, "lookup"),
        (
            {"method": {"type": "memit"}, "training": {"retention": {"type": "kl"}}},
            "the method `memit` edits weights and trains nothing, so `training.retention` has no place",
        ),
        ({"method": {"type": "mixsd"}, "training": {"retention": {"type": "ewc"}}}, "retention.type"),
        ({"method": {"type": "mixsd"}, "training": {"retention": {"texts": 3}}}, "retention.texts"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        a_job(**parts)


@pytest.mark.parametrize("processes", [1, 2, 64])
@pytest.mark.parametrize("other", [{}, {"quantize": "nf4"}, {"compile_layers": True}], ids=str)
@pytest.mark.parametrize("method", ["mixsd", "opsd", "memit"])
def test_api_and_library_refuse_the_same_shardings(
    method: str, other: dict[str, Any], processes: int
) -> None:
    parts = {"method": {"type": method}, "training": {"shard": "full", "processes": processes, **other}}
    may = method != "opsd" and not other and processes > 1

    for make in (a_job, plan_from):
        if may:
            make(**parts)
            continue
        with pytest.raises((ConfigError, ValidationError), match="shard"):
            make(**parts)
