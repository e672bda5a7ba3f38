"""Settings: defaults and bounds."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from mixsd.config import (
    EvalConfig,
    LoraConfig,
    MixConfig,
    OpsdConfig,
    Plan,
    RetentionConfig,
    SftConfig,
    TrainConfig,
)
from mixsd.errors import ConfigError
from mixsd.options import plan_from

REWORDINGS = {"rewordings": 0, "rewordings_source": "subject", "rewordings_check": True}
KINDS = (MixConfig, SftConfig, OpsdConfig, LoraConfig, RetentionConfig, TrainConfig, EvalConfig)
Kind = (
    type[MixConfig]
    | type[SftConfig]
    | type[OpsdConfig]
    | type[LoraConfig]
    | type[RetentionConfig]
    | type[TrainConfig]
    | type[EvalConfig]
)


def test_the_defaults_are_these() -> None:
    assert plan_from() == Plan(training=TrainConfig(retention=RetentionConfig("kl")))
    assert plan_from().to_json() == {
        "method": {
            "type": "mixsd",
            "lam": 0.3,
            "lam_backoff": [0.15, 0.05, 0.0],
            "temperature": 0.0,
            "top_k": 64,
            "max_attempts": 10,
            "generations": 1,
            "prompt_style": "natural",
            "verifier": "contains_strict",
            "pattern": "",
            "max_new_tokens": 0,
            "fallback_to_answer": True,
            "answer_guard": False,
            "hint": "context",
            "opening": "",
            "end_at_answer": True,
            "score_both": False,
            "rewordings": 4,
            "rewordings_source": "subject",
            "rewordings_check": True,
            "wording_texts": "shared",
            "seed": 0,
            "batch_facts": 24,
        },
        "training": {
            "lora": {
                "rank": 16,
                "alpha": 16.0,
                "dropout": 0.0,
                "target_modules": ["mlp"],
                "dora": False,
                "rslora": False,
            },
            "learning_rate": None,
            "schedule": "constant",
            "warmup_steps": 5,
            "epochs": 20,
            "min_steps": 60,
            "max_steps": 0,
            "batch_size": 8,
            "micro_batch": 0,
            "processes": 1,
            "shard": "none",
            "weight_decay": 0.0,
            "clip": 1.0,
            "stop_when_learned": True,
            "eval_every": 0,
            "patience": 0,
            "checkpoint_seconds": 60.0,
            "precision": "auto",
            "compile_layers": False,
            "quantize": "none",
            "seed": 0,
            "retention": {
                "type": "kl",
                "ratio": 0.5,
                "weight": 1.0,
                "about": "questions",
                "prompts": 128,
                "max_new_tokens": 24,
                "temperature": 0.0,
                "top_k": 1024,
                "kl_top_k": 64,
                "seed": 0,
            },
        },
        "evaluation": {
            "max_new_tokens": 40,
            "batch_size": 64,
            "verifier": "contains",
            "general": True,
            "drift": True,
            "bootstrap": 10_000,
            "confidence": 0.95,
        },
    }
    assert asdict(SftConfig()) == {
        "prompt_style": "natural",
        "target": "canonical",
        **REWORDINGS,
        "seed": 0,
    }
    assert asdict(OpsdConfig()) == {
        "loss": "forward",
        "rollouts": 1,
        "temperature": 1.0,
        "top_k": 1024,
        "kl_top_k": 64,
        "max_new_tokens": 0,
        "prompt_style": "natural",
        **REWORDINGS,
        "seed": 0,
    }


BOUNDS: list[tuple[Kind, str, list[Any], list[Any]]] = [
    (MixConfig, "lam", [0, 1], [-0.001, 1.001, math.nan, math.inf]),
    (MixConfig, "lam_backoff", [(), (0, 1)], [(0.1, 1.1), (-0.1,), (math.nan,)]),
    (MixConfig, "temperature", [0, 5], [-0.1, 5.1, math.nan]),
    (MixConfig, "top_k", [1, 1024], [0, 1025]),
    (MixConfig, "max_attempts", [1, 1000], [0, 1001]),
    (MixConfig, "generations", [1, 64], [0, 65]),
    (MixConfig, "prompt_style", ["natural", "kgfact", "reference"], ["", "Natural"]),
    (MixConfig, "hint", ["answer", "context"], ["", "both"]),
    (
        MixConfig,
        "verifier",
        ["contains", "contains_strict", "exact", "boxed", "last_number"],
        ["x", "first_sentence"],
    ),
    (MixConfig, "max_new_tokens", [0, 8192], [-1, 8193]),
    (MixConfig, "seed", [0, 2**63 - 1], [-1, 2**63]),
    (MixConfig, "batch_facts", [1, 1024], [0, 1025]),
    (SftConfig, "prompt_style", ["kgfact"], ["x"]),
    *(
        (kind, name, good, bad)
        for kind in (MixConfig, SftConfig, OpsdConfig)
        for name, good, bad in (
            ("rewordings", [0, 16], [-1, 17]),
            ("rewordings_source", ["subject", "model", "templates", "both"], ["", "none"]),
        )
    ),
    (MixConfig, "wording_texts", ["shared", "own"], ["", "none"]),
    (SftConfig, "target", ["canonical", "natural"], ["", "Natural"]),
    (SftConfig, "seed", [0, 2**63 - 1], [-1, 2**63]),
    (OpsdConfig, "loss", ["forward", "reverse", "nll"], ["kl", ""]),
    (OpsdConfig, "rollouts", [1, 64], [0, 65]),
    (OpsdConfig, "temperature", [0, 5], [-0.1, 5.1, math.nan]),
    (OpsdConfig, "top_k", [1, 1024], [0, 1025]),
    (OpsdConfig, "kl_top_k", [2, 1024], [1, 1025]),
    (OpsdConfig, "max_new_tokens", [0, 8192], [-1, 8193]),
    (OpsdConfig, "prompt_style", ["kgfact"], ["x"]),
    (OpsdConfig, "seed", [0, 2**63 - 1], [-1, 2**63]),
    (RetentionConfig, "type", ["none", "replay", "kl"], ["", "ewc"]),
    (RetentionConfig, "ratio", [0.01, 16], [0, 16.1, math.nan]),
    (RetentionConfig, "weight", [0.001, 1000], [0, -1, 1001, math.nan]),
    (RetentionConfig, "about", ["both", "open", "questions"], ["", "closed"]),
    (RetentionConfig, "prompts", [1, 128], [0, 129]),
    (RetentionConfig, "max_new_tokens", [1, 1024], [0, 1025]),
    (RetentionConfig, "temperature", [0, 5], [-0.1, 5.1, math.nan]),
    (RetentionConfig, "top_k", [1, 1024], [0, 1025]),
    (RetentionConfig, "kl_top_k", [2, 1024], [1, 1025]),
    (RetentionConfig, "seed", [0, 2**63 - 1], [-1, 2**63]),
    (LoraConfig, "rank", [1, 512], [0, 513]),
    (LoraConfig, "alpha", [0.01, 4096], [0, -1, 4097, math.nan]),
    (LoraConfig, "dropout", [0, 0.99], [-0.1, 1, math.nan]),
    (LoraConfig, "target_modules", [("q_proj",)], [()]),
    (TrainConfig, "learning_rate", [1e-9, 1, None], [0, -1, 1.1, math.nan]),
    (TrainConfig, "schedule", ["constant", "linear", "cosine"], ["step"]),
    (TrainConfig, "warmup_steps", [0, 100_000], [-1, 100_001]),
    (TrainConfig, "epochs", [1, 1000], [0, 1001]),
    (TrainConfig, "min_steps", [0, 10_000_000], [-1, 10_000_001]),
    (TrainConfig, "max_steps", [0, 10_000_000], [-1, 10_000_001]),
    (TrainConfig, "batch_size", [1, 4096], [0, 4097]),
    (TrainConfig, "micro_batch", [0, 4096], [-1, 4097]),
    (TrainConfig, "processes", [1, 64], [0, 65]),
    (TrainConfig, "shard", ["none"], ["", "half"]),
    (TrainConfig, "weight_decay", [0, 1], [-0.1, 1.1]),
    (TrainConfig, "clip", [0, 1000], [-0.1, 1001]),
    (TrainConfig, "eval_every", [0, 10_000_000], [-1, 10_000_001]),
    (TrainConfig, "patience", [0, 1000], [-1, 1001]),
    (TrainConfig, "precision", ["auto", "fp32", "bf16"], ["fp16"]),
    (TrainConfig, "quantize", ["none", "nf4"], ["int8"]),
    (TrainConfig, "known_facts", ["train", "skip"], ["drop"]),
    (TrainConfig, "learning_rate_multiplier", [1e-3, 500], [0, -1, 501, math.nan]),
    (TrainConfig, "kept_ratio", [0, 16], [-0.1, 16.1]),
    (TrainConfig, "checkpoint_seconds", [0, 86_400], [-1, 86_401]),
    (TrainConfig, "seed", [0, 2**63 - 1], [-1, 2**63]),
    (EvalConfig, "max_new_tokens", [1, 8192], [0, 8193]),
    (EvalConfig, "batch_size", [1, 1024], [0, 1025]),
    (EvalConfig, "verifier", ["exact"], ["regex", "x"]),
    (EvalConfig, "bootstrap", [100, 1_000_000], [99, 1_000_001]),
    (EvalConfig, "confidence", [0.5, 0.999], [0.49, 1, math.nan]),
]


@pytest.mark.parametrize(
    ("kind", "name", "good", "bad"), BOUNDS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_setting_keeps_to_its_bounds_and_the_message_names_it(
    kind: Kind, name: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert getattr(kind(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ConfigError, match=name):
            kind(**{name: value})


def test_a_sharded_base_is_trained_by_several_processes_and_as_it_is() -> None:
    assert TrainConfig(shard="full", processes=2).shard == "full"
    for others, said in (
        ({}, "processes is 1: set processes to 2"),
        ({"processes": 2, "quantize": "nf4"}, "does not go with quantize nf4: set one"),
        ({"processes": 2, "compile_layers": True}, "does not go with compile_layers: set compile_layers"),
    ):
        with pytest.raises(ConfigError, match=f"shard full .*{said}"):
            TrainConfig(shard="full", **others)


def test_on_policy_texts_are_not_written_by_a_sharded_base() -> None:
    training = TrainConfig(shard="full", processes=2)

    assert Plan(training=training).training is training
    with pytest.raises(ConfigError, match=r"method opsd .*set training.shard to none"):
        Plan(method=OpsdConfig(), training=training)


def test_every_setting_with_bounds_is_in_that_table() -> None:
    switches = {
        "pattern",
        "fallback_to_answer",
        "answer_guard",
        "opening",
        "end_at_answer",
        "score_both",
        "rewordings_check",
        "lora",
        "retention",
        "stop_when_learned",
        "compile_layers",
        "dora",
        "rslora",
        "general",
        "drift",
        "gate",
    }
    for kind in KINDS:
        tabled = {name for of, name, _, _ in BOUNDS if of is kind}
        assert set(kind.__dataclass_fields__) - switches == tabled


@pytest.mark.parametrize("pattern", ["", "no answer in it", "({answer}", "*{answer}"])
def test_a_pattern_must_be_one_and_hold_the_answer(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        MixConfig(verifier="regex", pattern=pattern)
    assert MixConfig(pattern=pattern).pattern == pattern  # no other verifier looks at it


def test_attempts_are_divided_among_the_values_of_lam() -> None:
    lams = [[MixConfig(max_attempts=n).lam_of(attempt) for attempt in range(n)] for n in (1, 4, 6)]

    assert lams == [[0.3], [0.3, 0.15, 0.05, 0.0], [0.3, 0.3, 0.15, 0.05, 0.05, 0.0]]
    assert {MixConfig(lam=0.7, lam_backoff=()).lam_of(attempt) for attempt in range(10)} == {0.7}
