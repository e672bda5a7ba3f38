"""How engines serve adapters: what is said about each, and that one of them does as written."""

from typing import Any

import pytest

from app.delivery.engines import Engine, Plan, Served, plan_for

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def planned(engine: Engine, *, hub: bool = True, **config: Any) -> Plan:
    served = Served(
        adapter_id="adp_1",
        base_id="owner/model",
        hub_id="owner/model" if hub else None,
        revision=COMMIT if hub else "r1",
        config={"r": 16, **config},
    )
    return plan_for(engine, served)


def code_of(plan: Plan) -> str:
    return "\n".join(step.code for step in plan.steps)


@pytest.mark.parametrize(
    ("rank", "named"), [(1, 1), (4, 8), (8, 8), (16, 16), (24, 32), (65, 128), (300, 320), (512, 512)]
)
def test_vllm_is_told_the_next_rank_that_it_takes(rank: int, named: int) -> None:
    plan = planned(Engine.VLLM, r=rank)

    assert (plan.way, plan.problems) == ("adapter", ())
    assert f"--max-lora-rank {named} " in code_of(plan)
    assert f"vllm serve owner/model --revision {COMMIT}" in code_of(plan)
    assert "--lora-modules adp_1=./adp_1" in code_of(plan)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"r": 513}, "ranks up to 512"),
        ({"rank_pattern": {"q_proj": 600}}, "ranks up to 512"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
    ids=["rank", "rank of a layer", "dora", "modules"],
)
def test_what_vllm_does_not_take_is_served_merged(config: dict[str, Any], said: str) -> None:
    plan = planned(Engine.VLLM, **config)

    assert plan.way == "merged"
    assert any(said in problem for problem in plan.problems)
    assert "mixsd adapters export adp_1 --format merged" in code_of(plan)
    assert "--enable-lora" not in code_of(plan)


@pytest.mark.parametrize("config", [{"use_dora": True}, {"use_rslora": True}], ids=["dora", "rslora"])
def test_what_sglang_would_scale_otherwise_is_served_merged(config: dict[str, Any]) -> None:
    assert planned(Engine.SGLANG).way == "adapter"
    assert planned(Engine.SGLANG, **config).way == "merged"


@pytest.mark.parametrize("engine", [Engine.LLAMA_SERVER, Engine.OLLAMA])
def test_engines_of_gguf_are_given_the_whole_model_as_gguf(engine: Engine) -> None:
    plan = planned(engine)

    assert plan.way == "gguf"
    assert plan.problems
    assert "--format gguf" in code_of(plan)
    assert "ADAPTER" not in code_of(plan)


@pytest.mark.parametrize("engine", list(Engine))
def test_a_base_model_that_no_commit_of_the_hub_has_is_found_on_this_machine(engine: Engine) -> None:
    code = code_of(planned(engine, hub=False))

    assert COMMIT not in code
    if planned(engine, hub=False).way == "adapter":
        assert "models" in code
        assert "owner/model" in code


@pytest.mark.parametrize("engine", list(Engine))
def test_every_plan_says_what_it_needs_and_ends_with_a_question(engine: Engine) -> None:
    plan = planned(engine)

    assert plan.needs
    assert plan.steps[-1].title == "Ask it"
