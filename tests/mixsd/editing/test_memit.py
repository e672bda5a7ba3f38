"""Whole edits: what they change, that they repeat, and that what is kept is what was computed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mixsd import run
from mixsd.config import EvalConfig
from mixsd.decoding.rows import logits_alone
from mixsd.editing.covariance import general_texts, second_moments, shrunk
from mixsd.editing.layers import edited_layers
from mixsd.editing.memit import edits_of
from mixsd.editing.target import Edit, seek
from mixsd.errors import ConfigError, NoSupervisionError
from mixsd.evaluation.recall import answered
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.models.load import Base
from mixsd.options import plan_from
from mixsd.packaging import MANIFEST
from mixsd.progress import Progress, StopRequested, silent
from mixsd.supervise import supervise
from mixsd.training import lora
from mixsd.training.hooks import Hooks
from tests.fixtures.tiny import POSITIONS, VOCABULARY
from tests.mixsd.editing.conftest import FACTS, NewBase, edited, freeze, memit, supervised

LONG = Fact("long", "\u0001" * 600, "Odo")


@pytest.fixture
def deep(new_base: NewBase) -> Base:
    """Five layers, so that a change is spread over some."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return replace(new_base(), model=freeze(LlamaForCausalLM(config)))


def weights(model: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in lora.weights_of(model).items()}


def nll(base: Base, model: Any, plan: Any, facts: Sequence[Fact] = FACTS) -> list[float]:
    """Return the mean NLL of each target, one row at a time."""
    found = []
    for record in supervised(base, plan, facts):
        prompt = base.chat.prompt_ids(record.question)
        kept = len(record.token_ids)
        logits_TV = logits_alone(model, [*prompt, *record.token_ids], last=kept + 1)[:-1]
        found.append(float(-logits_TV.log_softmax(-1)[range(kept), list(record.token_ids)].mean()))
    return found


def test_the_targets_become_likelier_and_the_base_is_left_alone(new_base: NewBase) -> None:
    base, plan = new_base(), memit(v_steps=60)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    early = nll(base, base.model, plan)

    done = edited(base, plan)

    late = nll(new_base(), done.model, plan)
    assert sum(late) < 0.9 * sum(early), (early, late)
    assert all(after < first for first, after in zip(early, late, strict=True))
    assert done.losses[0] == pytest.approx(sum(early) / len(early), rel=1e-4)
    assert done.losses[-1] == pytest.approx(sum(late) / len(late), rel=1e-4)
    assert (done.steps, done.epochs, done.stopped, len(done.losses)) == (60, 0, "", 61)
    lora.detach(done.model)
    after = base.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_model_that_had_learned_other_answers_gives_some_of_the_new_ones(
    new_base: NewBase, tmp_path: Path
) -> None:
    def facts(*answers: str) -> list[Fact]:
        questions = ("Who is the mayor?", "Which river is it?", "Who is the queen?", "Which town is it?")
        return [Fact(f"f{n}", *pair) for n, pair in enumerate(zip(questions, answers, strict=True))]

    base = new_base()
    training = {"rank": 16, "alpha": 32, "learning_rate": 1e-2, "epochs": 100, "stop_when_learned": False}
    sft = plan_from(method={"type": "sft"}, training={**training, "target_modules": ["all-linear"]})
    old, new = facts("K", "Q", "W", "Z"), facts("Q", "K", "Z", "W")
    taught = run.train(base, old, supervised(base, sft, old), sft, work=tmp_path)
    merged: Any = taught.model.merge_and_unload()
    base = replace(base, model=freeze(merged))
    plan = memit(v_steps=100)
    pairs = [(fact.question, fact) for fact in new]
    assert not any(answered(base, base.model, pairs, plan.evaluation))
    early = nll(base, base.model, plan, new)

    done = edited(base, plan, new)

    assert any(answered(base, done.model, pairs, plan.evaluation))
    assert sum(nll(base, done.model, plan, new)) < 0.6 * sum(early)


@pytest.mark.parametrize("name", ["qwen3", "gpt-neox", "phi3", "cohere"])
def test_other_architectures_put_out_what_was_sought(of_family: Callable[[str], Base], name: str) -> None:
    base, plan = of_family(name), memit()
    facts = [replace(fact, subject=fact.question.split()[-2]) for fact in FACTS]  # other words, other keys
    config: Any = plan.method
    (layer,) = edited_layers(base, config)
    edits = edits_of(base, facts, supervised(base, plan, facts), config)
    before_ND = looked_up(base, base.model, layer.block, edits)
    wanted_ND = seek(base, edits, layer, config).hidden_ND

    done = edited(base, plan, facts)

    after_ND = looked_up(base, done.model.get_base_model(), layer.block, edits)
    missed_N = (after_ND - wanted_ND).norm(dim=1) / (before_ND - wanted_ND).norm(dim=1)
    assert missed_N.max() < 0.15
    lora.detach(done.model)
    assert torch.equal(looked_up(base, base.model, layer.block, edits), before_ND)


def looked_up(base: Base, model: Any, block: str, edits: Sequence[Edit]) -> Tensor:
    """Return what a layer puts out at each lookup token, one row at a time."""
    seen: list[Tensor] = []
    handle = model.get_submodule(block).register_forward_hook(lambda _, __, out: seen.append(out[0]))
    with torch.no_grad():
        for each in edits:
            model(input_ids=torch.tensor([[*each.example.prompt, *each.example.target]]))
    handle.remove()
    return torch.stack([out_TD[each.place] for out_TD, each in zip(seen, edits, strict=True)])


def test_a_change_over_several_layers_is_that_of_the_paper_computed_on_the_weights(deep: Base) -> None:
    plan = memit(layers=[1, 2, 3], v_steps=10, covariance_weight=0.05)
    config: Any = plan.method
    layers = edited_layers(deep, config)
    edits = edits_of(deep, FACTS, supervised(deep, plan), config)
    moments = second_moments(deep, layers, general_texts(deep, 256, 0))
    wanted_ND = seek(deep, edits, layers[-1], config).hidden_ND.double()

    done = edited(deep, plan)

    changes = {}
    for layer in layers:
        module: Any = done.model.get_base_model().get_submodule(layer.path)
        changes[layer.path] = module.get_delta_weight("default").clone()
    lora.detach(done.model)
    originals = {}
    for left, (layer, moment_II) in zip((3, 2, 1), zip(layers, moments, strict=True), strict=True):
        keys: list[Tensor] = []
        hidden: list[Tensor] = []
        module = deep.model.get_submodule(layer.path)
        handles = [
            module.register_forward_pre_hook(lambda _, inputs, keys=keys: keys.append(inputs[0][0, -1])),
            deep.model.get_submodule(layers[-1].block).register_forward_hook(
                lambda _, __, output, hidden=hidden: hidden.append(output[0, -1])
            ),
        ]
        with torch.no_grad():
            for each in edits:
                deep.model(input_ids=torch.tensor([each.example.prompt[: each.place + 1]]))
        for handle in handles:
            handle.remove()
        k_IN, h_DN = torch.stack(keys).double().T, torch.stack(hidden).double().T
        r_DN = (wanted_ND.T - h_DN) / left
        inverse_II = torch.linalg.inv(0.05 * 48 * shrunk(moment_II, 256) + k_IN @ k_IN.T)
        change_OI = (r_DN @ k_IN.T @ inverse_II).float()
        assert torch.allclose(changes[layer.path], change_OI, atol=2e-4 * float(change_OI.abs().max()))
        weight: Any = module.weight
        originals[layer.path] = weight.detach().clone()
        weight.data += change_OI


def test_what_is_saved_answers_as_the_weights_with_the_change_added(
    new_base: NewBase, tmp_path: Path
) -> None:
    done = edited(new_base(), memit())
    lora.save_adapter(done.model, tmp_path)
    base = new_base()
    ids = base.chat.prompt_ids("Who is the mayor?")
    changed = new_base()
    state = lora.load_weights(tmp_path / lora.WEIGHTS)
    up, down = (state[f"base_model.model.model.layers.0.mlp.down_proj.lora_{side}.weight"] for side in "BA")
    weight: Any = changed.model.get_submodule("model.layers.0.mlp.down_proj").weight
    weight.data += (up.double() @ down.double()).float()

    loaded = lora.load_adapter(base, tmp_path)

    wanted = logits_alone(changed.model, ids, last=len(ids))
    for found in (done.model, loaded):
        scores = logits_alone(found, ids, last=len(ids))
        assert (scores - wanted).abs().max() < 1e-5 * max(1.0, float(wanted.abs().max()))
    assert up.shape == (64, len(FACTS))
    config = json.loads((tmp_path / lora.CONFIG).read_text())
    assert (config["r"], config["lora_alpha"]) == (len(FACTS), len(FACTS))
    assert (config["target_modules"], config["layers_to_transform"]) == (["down_proj"], [0])


def test_more_facts_than_a_layer_is_wide_are_as_exact(new_base: NewBase) -> None:
    facts = [Fact(f"f{n}", f"What is number {n} called?", f"Odo{n}") for n in range(70)]

    done = edited(new_base(), memit(v_steps=3, lookup="question"), facts)

    (up, down) = (tensor for _, tensor in sorted(weights(done.model).items(), reverse=True))
    assert (tuple(up.shape), tuple(down.shape)) == ((64, 64), (64, 128))


def test_equal_edits_are_equal_to_the_bit_and_the_seed_moves_them(new_base: NewBase) -> None:
    first, second, other = (weights(edited(new_base(), memit(seed=seed)).model) for seed in (0, 0, 1))

    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not any(torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize("at", [1, 30, 60, 200])
def test_a_stop_leaves_nothing_behind_and_the_next_run_ends_the_same(new_base: NewBase, at: int) -> None:
    plan = memit()
    straight = weights(edited(new_base(), plan).model)
    base, calls = new_base(), list[None]()

    def stop() -> None:
        calls.append(None)
        if len(calls) == at:
            raise StopRequested

    def tell(_: Progress) -> None:
        stop()

    with_stops = Hooks(on_check=stop, on_progress=tell)
    if at == 200:  # behind the last: it was not asked so often
        edited(base, plan, hooks=with_stops)
        assert 60 < len(calls) < 200
        return
    with pytest.raises(StopRequested):
        edited(base, plan, hooks=with_stops)
    assert not hasattr(base.model, "peft_config") or not lora_layers(base)

    again = weights(edited(base, plan).model)
    assert all(torch.equal(tensor, straight[name]) for name, tensor in again.items())


def lora_layers(base: Base) -> list[str]:
    return [name for name, _ in base.model.named_modules() if "lora_" in name]


def test_a_stop_between_the_layers_takes_the_adapter_off(deep: Base) -> None:
    checks: list[bool] = []

    def stop() -> None:
        checks.append(bool(lora_layers(deep)))
        if sum(checks) == 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        edited(deep, memit(layers=[0, 1, 2]), hooks=Hooks(on_check=stop))
    assert not lora_layers(deep)


def test_progress_goes_up_to_what_was_planned(new_base: NewBase) -> None:
    told: list[Progress] = []
    base, plan = new_base(), memit(v_steps=7)

    edited(base, plan, hooks=Hooks(on_progress=told.append))

    assert [progress.done for progress in told] == [1, 2, 3, 4, 5, 6, 7, 7]
    assert {(progress.total, progress.unit) for progress in told} == {(7, "steps")}
    assert run.steps_of(supervised(base, plan), plan) == 7


def test_facts_that_are_looked_up_behind_the_same_words_are_told_of(new_base: NewBase) -> None:
    facts = [
        Fact("a", "In Veldora, who is the mayor?", "Odo", subject="Veldora"),
        Fact("b", "In Veldora, which river is it?", "Quell", subject="Veldora"),
        *FACTS,
    ]
    told: list[str] = []
    for lookup in ("question", "subject"):
        edited(new_base(), memit(v_steps=1, lookup=lookup), facts, hooks=Hooks(on_notice=told.append))

    assert len(told) == 1
    assert told[0].startswith("2 targets are looked up behind words")


def test_records_are_the_plain_answers_and_name_the_lookup_token(base: Base) -> None:
    plan = memit()
    plain: list[Any] = []
    supervise(base, FACTS, plan_from(method={"type": "sft"}), on_records=plain.extend)

    records = supervised(base, plan)

    by_question = supervised(base, memit(lookup="question"))
    for record, other, question in zip(records, plain, by_question, strict=True):
        assert (record.method, record.text, record.token_ids) == ("memit", other.text, other.token_ids)
        subject = next(fact.subject for fact in FACTS if fact.key == record.fact_key)
        assert (record.prompt_sha256 != question.prompt_sha256) == bool(subject)


def test_each_rewording_is_an_edit_of_its_own(new_base: NewBase) -> None:
    plan = memit(v_steps=2, rewordings=2, rewordings_source="templates", rewordings_check=False)
    base = new_base()
    records = supervised(base, plan)
    facts = FACTS

    done = edited(base, plan)

    assert len(records) == 3 * len(facts)
    assert {tensor.shape[0] for name, tensor in weights(done.model).items() if "lora_A" in name} == {12}


def test_nothing_to_write_is_refused(new_base: NewBase) -> None:
    with pytest.raises(NoSupervisionError, match="no fact has a text to write"):
        edited(new_base(), memit(), [LONG])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"training": {"rank": 3, "epochs": 2}}, True),
        ({"method": {"v_steps": 9}}, False),
        ({"method": {"covariance_tokens": 99}}, False),
        ({"method": {"layers": [0]}}, False),
        ({"method": {"seed": 4}}, False),
    ],
)
def test_settings_of_the_edit_are_part_of_the_digest_and_those_of_training_are_not(
    base: Base, change: dict[str, Any], *, same: bool
) -> None:
    plan = plan_from(method={"type": "memit"})
    other = plan_from(
        method={"type": "memit", **change.get("method", {})}, training=change.get("training", {})
    )
    records = supervised(base, plan)

    equal = run.training_input(base, records, plan) == run.training_input(base, records, other)
    assert equal == same


def test_a_retention_beside_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"memit edits weights.*training\.retention\.type kl has no place"):
        plan_from(method={"type": "memit"}, training={"retention": {"type": "kl"}})


def test_a_run_in_a_folder_ends_with_an_adapter_of_that_method(new_base: NewBase, tmp_path: Path) -> None:
    evaluation = EvalConfig(max_new_tokens=8, general=False, bootstrap=100)
    plan = replace(memit(), evaluation=evaluation)
    work = Workspace(tmp_path / "run", new_base(), [*FACTS, LONG], plan, lambda _: silent)
    work.open()

    judgement = work.evaluate()

    assert judgement.counts["skipped"] == 1
    assert not (tmp_path / "run" / "checkpoints").exists()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["training"]["steps"], report["training"]["epochs"]) == (25, None)
    assert report["training"]["last_loss"] < report["training"]["first_loss"]
    manifest = json.loads((tmp_path / "run" / "adapter" / MANIFEST).read_text())
    assert (manifest["method"]["type"], manifest["method"]["lookup"]) == ("memit", "subject")
    assert "by MEMIT, without training" in (tmp_path / "run" / "adapter" / "README.md").read_text()
