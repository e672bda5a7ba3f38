"""Plans: what options of the API and of files make of settings, and what they are refused for."""

from dataclasses import asdict
from typing import Any

import pytest

from mixsd.config import (
    EvalConfig,
    GateConfig,
    KlConfig,
    LoraConfig,
    MixConfig,
    OpsdConfig,
    Plan,
    ReplayConfig,
    RetentionConfig,
    SftConfig,
    TrainConfig,
)
from mixsd.errors import ConfigError
from mixsd.options import plan_from

A_GATE = {"suite": "general", "max_drop": 0.1}


def test_options_of_the_api_make_a_plan() -> None:
    plan = plan_from(
        method={"type": "mixsd", "lam": 1, "lam_backoff": [0, 0.5]},
        training={"rank": 4, "alpha": 8, "target_modules": ["q_proj"], "epochs": 2},
        evaluation={"general": False},
    )

    assert plan.method == MixConfig(lam=1.0, lam_backoff=(0.0, 0.5))
    lora = LoraConfig(rank=4, alpha=8.0, target_modules=("q_proj",))
    assert plan.training == TrainConfig(lora=lora, epochs=2, retention=RetentionConfig("kl"))
    assert plan.evaluation == EvalConfig(general=False)
    assert (plan.method_type, plan.generations) == ("mixsd", 1)


def test_a_multiplied_rate_is_at_most_1() -> None:
    assert TrainConfig(learning_rate=0.5, learning_rate_multiplier=2).learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"0\.5 times learning_rate_multiplier 3 is above 1"):
        TrainConfig(learning_rate=0.5, learning_rate_multiplier=3)


def test_a_multiplier_of_1_leaves_digests_as_they_were() -> None:
    assert "learning_rate_multiplier" not in plan_from().to_json()["training"]
    twice = plan_from(training={"learning_rate_multiplier": 2})
    assert twice.to_json()["training"]["learning_rate_multiplier"] == 2.0


def test_a_learning_rate_may_be_left_to_the_model() -> None:
    assert plan_from(training={"learning_rate": None}).training.learning_rate is None
    assert plan_from(training={"learning_rate": 1}).training.learning_rate == 1.0


def test_a_gate_is_a_setting_of_the_evaluation_and_stands_in_the_plan_where_there_is_one() -> None:
    plan = plan_from(evaluation={"gate": {"suite": "drift", "max_drop": 1, "confidence": 0.9}})

    assert plan.evaluation == EvalConfig(gate=GateConfig("drift", 1.0, 0.9))
    gate = {"suite": "drift", "max_drop": 1.0, "confidence": 0.9}
    assert plan.to_json()["evaluation"]["gate"] == gate
    assert plan_from(evaluation={"gate": None}) == plan_from()
    for confidence in (0.49, 1.0):
        with pytest.raises(ConfigError, match=r"gate\.confidence must be in"):
            GateConfig("drift", 1.0, confidence)


def test_plain_fine_tuning_is_a_method_as_well() -> None:
    plan = plan_from(method={"type": "sft", "seed": 3})

    assert plan.method == SftConfig(seed=3)
    assert (plan.method_type, plan.generations) == ("sft", 1)
    assert plan.to_json()["method"] == {"type": "sft", **asdict(SftConfig(seed=3))}


def test_every_method_takes_rewordings() -> None:
    for kind in ("mixsd", "sft", "opsd", "kl", "memit"):
        plan = plan_from(method={"type": kind, "rewordings": 4, "rewordings_source": "model"})
        assert (plan.rewordings, plan.method.rewordings_source) == (4, "model")


@pytest.mark.parametrize(("name", "kind"), [("replay", ReplayConfig), ("kl", KlConfig)])
def test_replay_and_kl_are_plain_fine_tuning_with_that_retention(name: str, kind: type[SftConfig]) -> None:
    plan = plan_from(method={"type": name, "seed": 3}, training={"retention": {"ratio": 1, "seed": 2}})

    assert plan.method == kind(seed=3)
    assert plan.training.retention == RetentionConfig(type=name, ratio=1.0, seed=2)
    assert (plan.method_type, plan.generations) == (name, 1)
    assert plan.to_json()["method"] == {"type": name, **asdict(SftConfig(seed=3))}
    assert plan.to_json()["training"]["retention"]["type"] == name


def test_a_retention_goes_with_any_method_and_leaves_it_its_name() -> None:
    for name in ("mixsd", "sft", "opsd"):
        plan = plan_from(method={"type": name}, training={"retention": {"type": "replay"}})

        assert (plan.method_type, plan.training.retention.type) == (name, "replay")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mixsd", "kl"),
        ("sft", "none"),
        ("replay", "replay"),
        ("kl", "kl"),
        ("opsd", "none"),
        ("memit", "none"),
    ],
)
def test_a_retention_that_is_left_open_is_that_of_the_method(name: str, kind: str) -> None:
    for options in ({}, {"type": "auto"}):
        plan = plan_from(method={"type": name}, training={"retention": {"ratio": 0.25, **options}})
        assert plan.training.retention == RetentionConfig(kind, ratio=0.25)
    bare = plan_from(method={"type": "mixsd"}, training={"retention": {"type": "none"}})
    assert bare.training.retention == RetentionConfig("none")


def test_a_method_without_the_retention_of_its_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the method kl needs training\.retention\.type kl, got 'none'"):
        Plan(method=KlConfig())


def test_equal_rollouts_are_refused() -> None:
    with pytest.raises(ConfigError, match="rollouts must be 1 at temperature 0"):
        OpsdConfig(temperature=0.0, rollouts=2)


def test_a_whole_number_is_the_same_plan_as_its_decimal() -> None:
    whole = plan_from(method={"lam": 0, "lam_backoff": [0]}, training={"alpha": 8, "clip": 0})
    decimal = plan_from(method={"lam": 0.0, "lam_backoff": [0.0]}, training={"alpha": 8.0, "clip": 0.0})

    assert repr(whole) == repr(decimal)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("method", {"type": "dpo"}, "method.type must be one of mixsd, sft, replay, kl, opsd"),
        ("method", {"type": "replay", "ratio": 0.5}, "method.ratio is no setting"),
        ("method", {"type": "opsd", "lam": 0.5}, "method.lam is no setting"),
        ("method", {"type": "opsd", "rollouts": 1.5}, "method.rollouts"),
        ("method", {"type": "in_context"}, "in_context is a row of `mixsd compare` and makes no adapter"),
        ("method", {"type": "memit", "layers": [1, 1]}, "layers must name each layer once"),
        ("method", {"type": "memit", "layers": [-1]}, "layers must be in"),
        ("method", {"type": "memit", "layers": ["1"]}, "method.layers"),
        ("method", {"type": "memit", "lookup": "answer"}, "lookup must be one of subject, question"),
        ("method", {"type": "memit", "v_steps": 0}, "v_steps must be in"),
        ("method", {"type": "memit", "covariance_weight": 0}, "covariance_weight must be in"),
        ("method", {"type": "memit", "target": "natural"}, "method.target is no setting"),
        ("method", {"type": None}, "method.type"),
        ("method", {"lambda": 0.3}, "method.lambda is no setting; those are answer_guard, batch_facts,"),
        ("method", {"type": "sft", "lam": 0.3}, "method.lam is no setting"),
        ("method", {"lam": 1.5}, "lam must be in"),
        ("method", {"lam": "0.3"}, "method.lam"),
        ("method", {"lam": None}, "method.lam"),
        ("method", {"lam": True}, "method.lam"),
        ("method", {"lam": 10**400}, "lam"),
        ("method", {"lam_backoff": 0.1}, "method.lam_backoff"),
        ("method", {"lam_backoff": ["0.1"]}, "method.lam_backoff"),
        ("method", {"max_attempts": 2.5}, "method.max_attempts"),
        ("method", {"generations": True}, "method.generations"),
        ("method", {"seed": 0.5}, "method.seed"),
        ("method", {"seed": "0"}, "method.seed"),
        ("method", {"pattern": 5}, "method.pattern"),
        ("method", {"prompt_style": ["natural"]}, "method.prompt_style"),
        ("method", {"fallback_to_answer": "no"}, "method.fallback_to_answer"),
        ("training", {"lora": {"rank": 4}}, "training.lora is no setting"),
        ("training", {"retention": "replay"}, "training.retention must be an object"),
        ("training", {"retention": {"kind": "kl"}}, "training.retention.kind is no setting"),
        ("training", {"retention": {"ratio": "1"}}, "training.retention.ratio"),
        ("training", {"retention": {"type": "all"}}, "retention.type must be one of none, replay, kl"),
        ("training", {"rank": 0}, "rank must be in"),
        ("training", {"rank": 4.5}, "training.rank"),
        ("training", {"target_modules": "all-linear"}, "training.target_modules"),
        ("training", {"target_modules": [1]}, "training.target_modules"),
        ("training", {"epochs": 2.5}, "training.epochs"),
        ("training", {"epochs": None}, "training.epochs"),
        ("training", {"learning_rate": "auto"}, "training.learning_rate must be a number"),
        ("training", {"learning_rate": True}, "training.learning_rate must be a number"),
        ("training", {"stop_when_learned": 1}, "training.stop_when_learned"),
        ("evaluation", {"confidence": 1}, "confidence must be in"),
        ("evaluation", {"general": "false"}, "evaluation.general"),
        ("evaluation", {"bootstrap": 1e4}, "evaluation.bootstrap"),
        ("evaluation", {"gate": "general"}, "evaluation.gate must be an object"),
        ("evaluation", {"gate": {"suite": "general"}}, "evaluation.gate.max_drop is missing"),
        ("evaluation", {"gate": {"max_drop": 0.1}}, "evaluation.gate.suite is missing"),
        ("evaluation", {"gate": A_GATE | {"suite": 7}}, "evaluation.gate.suite must be a text"),
        ("evaluation", {"gate": A_GATE | {"suite": "mmlu"}}, "gate.suite must be one of recall,"),
        ("evaluation", {"gate": A_GATE | {"max_drop": "1"}}, "evaluation.gate.max_drop must be a number"),
        ("evaluation", {"gate": A_GATE | {"max_drop": -1}}, "gate.max_drop must be in"),
        ("evaluation", {"gate": A_GATE | {"alpha": 1}}, "evaluation.gate.alpha is no setting"),
        ("evaluation", {"gate": A_GATE, "general": False}, "gate.suite is general, which is not measured"),
    ],
)
def test_a_wrong_option_is_refused_by_name(part: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_from(**{part: options})
