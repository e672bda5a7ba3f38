"""Methods by name: presets, plans of a user's, and what is refused."""

import json
from pathlib import Path

import pytest

from mixsd.compare.methods import (
    DEFAULTS,
    PRESETS,
    Common,
    Match,
    Method,
    methods_of,
    presets,
    read_plans,
)
from mixsd.config import MixConfig, SftConfig
from mixsd.errors import ConfigError
from mixsd.options import plan_from


def test_a_preset_becomes_a_plan_with_the_seed_and_the_budget() -> None:
    (method,) = methods_of(["mixsd-lam0.5"])

    plan = method.plan(3, Match(steps=12))

    assert plan.method == MixConfig(
        lam=0.5,
        lam_backoff=(),
        rewordings=0,
        end_at_answer=False,
        verifier="contains",
        fallback_to_answer=False,
        seed=3,
    )
    training = plan.training
    assert (training.seed, training.max_steps, training.epochs) == (3, 12, 1000)
    assert not training.stop_when_learned


def test_presets_say_what_they_are_called() -> None:
    plans = {name: methods_of([name])[0].plan(0, Match()) for name in presets() if name != "in_context"}

    assert {
        "sft",
        "mixsd",
        "mixsd-lam0",
        "mixsd-bare+rewordings",
        "sft+rewordings",
        *DEFAULTS,
    } <= plans.keys()
    assert len({json.dumps(plan.to_json(), sort_keys=True) for plan in plans.values()}) == len(plans)
    for name, plan in plans.items():
        has_both = name == "mixsd" or name.endswith("+both")
        assert (plan.rewordings > 0) == (has_both or name.endswith("+rewordings"))
        kept = {"replay", "kl"} & {name, name.rpartition("+")[2]}
        wanted = "kl" if has_both else next(iter(kept), "none")
        assert plan.training.retention.type == wanted
        assert plan.method_type == name.partition("-")[0].partition("+")[0]


def test_a_preset_that_the_library_does_not_know_is_refused_and_not_shown() -> None:
    """Which ones these are changes; each is either shown and runs, or neither."""
    shown = presets()

    for name, settings in PRESETS.items():
        if name == "in_context":
            continue
        try:
            plan_from(**settings)
        except ConfigError:
            assert name not in shown
            with pytest.raises(ConfigError, match=f"the method {name.replace('+', '.')} is not part of"):
                methods_of([name])
        else:
            assert name in shown


def test_a_plan_of_ones_own_is_named_on_the_command_line() -> None:
    given = {"method": {"type": "sft"}, "training": {"rank": 4}}

    (method,) = methods_of([f"mine={json.dumps(given)}"])

    plan = method.plan(1, Match(), Common(training={"rank": 2, "alpha": 2.0}))
    assert (method.name, plan.method) == ("mine", SftConfig(seed=1))
    assert (plan.training.lora.rank, plan.training.lora.alpha) == (4, 2.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plans.toml", '[mine]\nmethod = {type = "mixsd", lam = 0.4}\n["other+"]\nmethod.type = "sft"\n'),
        (
            "plans.json",
            '{"mine": {"method": {"type": "mixsd", "lam": 0.4}}, "other+": {"method": {"type": "sft"}}}',
        ),
    ],
)
def test_plans_come_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    own = read_plans(tmp_path / name)
    chosen = methods_of(["other+", "mine", "sft"], own)

    assert [method.name for method in chosen] == ["other+", "mine", "sft"]
    assert chosen[1].plan(0, Match()).method == MixConfig(lam=0.4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lora"], "there is no method 'lora'; those are sft, "),
        ([""], "there is no method ''"),
        (["sft", "mixsd", "sft"], "the method sft is named twice"),
        (["sft={}"], "sft: that is the name of a preset"),
        (["mine={"], "method mine: what follows the = is no JSON"),
        (["mine=" + "[" * 99_999], "method mine: what follows the = is no JSON"),
        (["mine=[]"], "method mine: expected an object with `method`"),
        (["mine={}"], "method mine: expected an object with `method`"),
        (['mine={"method": 1}'], "method mine: method: expected objects"),
        (['mine={"method": {}, "evaluation": {}}'], "method mine: evaluation: expected objects"),
        (['-x={"method": {}}'], "method '-x': a name is"),
        (['a|b={"method": {}}'], r"method 'a\|b': a name is"),
        (['mine={"method": {"seed": 3}}'], "method.seed is decided by the comparison"),
        (['mine={"method": {}, "training": {"epochs": 3}}'], "training.epochs is decided by the comparison"),
        (['mine={"method": {}, "training": {"max_steps": 3}}'], "training.max_steps is decided"),
    ],
)
def test_a_name_that_is_none_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        methods_of(words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "sft", "lam": 0.3}, "method mine: method.lam is no setting"),
        ({"type": "mixsd", "lam": 3.0}, "method mine: lam must be in"),
        ({"type": "guess"}, "method mine: method.type must be one of"),
    ],
)
def test_a_plan_that_is_none_is_refused_with_its_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Method("mine", settings).plan(0, Match())


def test_what_the_comparison_decides_is_no_setting_of_all_methods_either() -> None:
    for common in ({"seed": 1}, {"stop_when_learned": True}):
        with pytest.raises(ConfigError, match="is decided by the comparison"):
            Method("mine", {"type": "sft"}).plan(0, Match(), Common(training=common))


def test_a_run_that_ends_by_recall_needs_a_schedule_that_knows_no_end() -> None:
    method = Method("mine", {"type": "sft"}, {"schedule": "cosine"})

    assert method.plan(0, Match()).training.schedule == "cosine"
    with pytest.raises(ConfigError, match="the schedule must be constant, got 'cosine'"):
        method.plan(0, Match(by="recall"))


@pytest.mark.parametrize("name", ["plans.toml", "plans.json"])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 99_999, b'"x"', b"mine = 1"])
def test_a_file_without_plans_is_refused(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)

    with pytest.raises(ConfigError):
        read_plans(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "luck"}, "match must be steps or recall"),
        ({"steps": 0}, "steps must be in"),
        ({"steps": 1_000_001}, "steps must be in"),
        ({"recall": 0.0}, "recall must be in"),
        ({"recall": 1.01}, "recall must be in"),
        ({"recall": float("nan")}, "recall must be in"),
        ({"every": 0}, "every must be in"),
        ({"every": 1_000_001}, "every must be in"),
    ],
)
def test_a_budget_keeps_to_its_bounds(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Match(**options)  # type: ignore[arg-type]


def test_what_does_not_decide_a_row_is_not_told() -> None:
    assert Match(recall=0.5, every=3).to_json() == Match().to_json() == {"by": "steps", "steps": 96}
    assert Match("recall", recall=0.5).to_json() != Match("recall").to_json()
