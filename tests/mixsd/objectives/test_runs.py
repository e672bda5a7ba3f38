"""Whole runs of each objective: what it lowers, and that stopping changes nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mixsd import run
from mixsd.config import EvalConfig, Plan
from mixsd.decoding.rows import LanguageModel, logits_alone
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.models.load import Base
from mixsd.objectives.replay import replay_examples
from mixsd.options import plan_from
from mixsd.packaging import MANIFEST
from mixsd.progress import Progress, StopRequested, silent
from mixsd.supervise import supervise
from mixsd.supervision import Supervision
from mixsd.training import checkpoint, lora
from mixsd.training.batches import Example, examples_of, order_of
from mixsd.training.hooks import Hooks
from mixsd.training.loop import Trained
from mixsd.training.soft import soft_loss
from tests.mixsd.objectives.conftest import NewBase

FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo"),
    Fact("river", "Which river is it?", "Quell"),
    Fact("queen", "Who is the queen?", "Adesta"),
    Fact("town", "Which town is it?", "Tessport"),
]
LONG = Fact("long", "\u0001" * 600, "Odo")
TRAINING: dict[str, Any] = {
    "rank": 4,
    "alpha": 8.0,
    "learning_rate": 1e-2,
    "epochs": 3,
    "min_steps": 0,
    "batch_size": 3,
    "warmup_steps": 0,
    "stop_when_learned": False,
}
RETENTION = {"ratio": 0.5, "prompts": 5, "max_new_tokens": 8}
MIXED = {"type": "mixsd", "rewordings": 0, "max_attempts": 2, "max_new_tokens": 6, "fallback_to_answer": True}
OPSD = {"type": "opsd", "max_new_tokens": 6, "temperature": 0.0}
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "replay": ({"type": "replay"}, RETENTION),
    "kl": ({"type": "kl"}, RETENTION),
    "mixsd-kl": (MIXED, {**RETENTION, "type": "kl"}),
    "opsd-forward": ({**OPSD, "temperature": 1.0, "rollouts": 2}, {}),
    "opsd-reverse": ({**OPSD, "loss": "reverse"}, {}),
    "opsd-nll": ({**OPSD, "loss": "nll"}, {}),
    "opsd-replay": (OPSD, {**RETENTION, "type": "replay"}),
}


def plan_of(name: str, **training: Any) -> Plan:
    method, retention = METHODS[name]
    return plan_from(method=method, training={**TRAINING, "retention": retention, **training})


def supervised(base: Base, plan: Plan, facts: Sequence[Fact] = FACTS) -> list[Supervision]:
    records: list[Supervision] = []
    supervise(base, facts, plan, on_records=records.extend)
    return run.in_order(records, facts, plan)


def trained(base: Base, plan: Plan, work: Path, **options: Any) -> Trained:
    return run.train(base, FACTS, supervised(base, plan), plan, work=work, **options)


def weights(done: Trained) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in lora.weights_of(done.model).items()}


@pytest.mark.parametrize("name", METHODS)
def test_each_lowers_its_own_loss_and_leaves_the_base_alone(
    new_base: NewBase, tmp_path: Path, name: str
) -> None:
    base = new_base()
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

    steps = 60 if name.startswith("opsd") else 25  # what the model says must change before the loss does

    done = trained(base, plan_of(name, epochs=steps, batch_size=4), tmp_path)

    assert sum(done.losses[-5:]) < 0.75 * sum(done.losses[:5])
    lora.detach(done.model)
    after = base.model.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_retention_stands_beside_what_a_method_trains_on_and_not_in_its_place(
    new_base: NewBase, tmp_path: Path
) -> None:
    done = {name: trained(new_base(), plan_of(name), tmp_path / name) for name in ("opsd-replay", "replay")}

    first, second = (weights(each) for each in done.values())
    assert not any(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("stop", [1, 3, 4])
@pytest.mark.parametrize("name", METHODS)
def test_a_run_stopped_at_any_step_ends_with_the_same_weights(
    new_base: NewBase, tmp_path: Path, name: str, stop: int
) -> None:
    plan = plan_of(name, dropout=0.2)
    straight = weights(trained(new_base(), plan, tmp_path / "straight"))

    def stop_at(progress: Progress) -> None:
        if progress.done == stop:
            raise StopRequested

    with pytest.raises(StopRequested):
        trained(new_base(), plan, tmp_path / "stopped", hooks=Hooks(on_progress=stop_at))
    folders = checkpoint.newest(list((tmp_path / "stopped").iterdir()))
    again = trained(new_base(), plan, tmp_path / "stopped", resume=folders)

    assert again.steps == 6
    resumed = weights(again)
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(tensor, straight[key]) for key, tensor in resumed.items())


@pytest.mark.parametrize("name", ["replay", "kl"])
def test_retention_lowers_its_loss_on_its_own_prompts_against_training_without(
    new_base: NewBase, tmp_path: Path, name: str
) -> None:
    plain = plan_from(method={"type": "sft"}, training={**TRAINING, "epochs": 20})
    beside = plan_of(name, epochs=20, retention={**RETENTION, "ratio": 2.0})
    losses = []
    for place, plan in enumerate((plain, beside)):
        base = new_base()
        examples = replay_examples(base, beside.training.retention)
        done = trained(base, plan, tmp_path / str(place))
        done.model.eval()
        losses.append(sum(loss_of(done.model, example) for example in examples))

    assert losses[1] < 0.5 * losses[0]


def loss_of(model: LanguageModel, example: Example) -> float:
    """Return the summed loss of an example, without a batch."""
    kept = len(example.target)
    logits_TV = logits_alone(model, [*example.prompt, *example.target], last=kept + 1)[:-1]
    if (soft := example.soft) is not None:
        return soft_loss(logits_TV, soft.ids_TK, soft.logprobs_TK, kind=soft.kind).sum().item()
    return -logits_TV.log_softmax(-1)[range(kept), list(example.target)].sum().item()


def test_a_step_s_loss_is_the_weighted_mean_over_tokens_of_facts_and_answers(
    new_base: NewBase, tmp_path: Path
) -> None:
    retention = {**RETENTION, "type": "kl", "ratio": 1.0, "weight": 0.25}
    plan = plan_of("kl", retention=retention, learning_rate=1e-2, batch_size=4, max_steps=2)
    done = trained(new_base(), plan, tmp_path)
    base = new_base()

    facts = examples_of(base, supervised(base, plan), prompt_style="natural")
    held = replay_examples(base, plan.training.retention)
    nll = sum(loss_of(base.model, example) for example in facts)
    tokens = sum(len(example.target) for example in facts)
    beside = [held[place] for place in order_of(5, seed=0, epoch=0)[:4]]
    weight = 0.25 * sum(len(example.target) for example in beside)

    assert done.losses[0] == pytest.approx(nll / (tokens + weight), rel=1e-4)  # the KL begins at 0


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("replay", {"ratio": 1.0}),
        ("replay", {"seed": 1}),
        ("kl", {"weight": 2.0}),
        ("kl", {"max_new_tokens": 9}),
        ("kl", {"prompts": 6}),
        ("opsd-replay", {"kl_top_k": 5}),
    ],
)
def test_settings_of_retention_are_part_of_the_digest(base: Base, name: str, changes: dict[str, Any]) -> None:
    plan = plan_of(name)
    records = supervised(base, plan)
    retention = replace(plan.training.retention, **changes)
    other = replace(plan, training=replace(plan.training, retention=retention))

    assert run.training_input(base, records, other) != run.training_input(base, records, plan)


@pytest.mark.parametrize("change", [{"loss": "nll"}, {"kl_top_k": 9}, {"rollouts": 3}, {"top_k": 7}])
def test_settings_of_rollouts_are_part_of_the_digest(base: Base, change: dict[str, Any]) -> None:
    plan = plan_of("opsd-forward")
    records = supervised(base, plan)
    other = plan_from(method={**METHODS["opsd-forward"][0], **change}, training=TRAINING)
    plain = plan_from(method=METHODS["opsd-forward"][0], training=TRAINING)

    assert supervised(base, other) == records  # so the records cannot tell them apart
    assert run.training_input(base, records, other) != run.training_input(base, records, plain)


def test_a_stop_while_answers_are_made_is_one_before_the_first_step(
    new_base: NewBase, tmp_path: Path
) -> None:
    calls: list[None] = []

    def stop() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise StopRequested

    with pytest.raises(StopRequested):
        trained(new_base(), plan_of("kl"), tmp_path, hooks=Hooks(on_check=stop))
    assert list(tmp_path.iterdir()) == []


def test_a_stop_while_a_step_is_prepared_saves_the_steps_before(new_base: NewBase, tmp_path: Path) -> None:
    steps: list[int] = []

    def stop() -> None:
        if steps and steps[-1] == 2:
            raise StopRequested

    hooks = Hooks(on_check=stop, on_progress=lambda progress: steps.append(progress.done))
    with pytest.raises(StopRequested):
        trained(new_base(), plan_of("opsd-nll"), tmp_path, hooks=hooks)

    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-2"]


@pytest.mark.parametrize("name", ["replay", "kl", "opsd-forward"])
def test_a_run_in_a_folder_ends_with_an_adapter_of_that_method(
    new_base: NewBase, tmp_path: Path, name: str
) -> None:
    evaluation = EvalConfig(max_new_tokens=8, general=False, bootstrap=100)
    plan = replace(plan_of(name), evaluation=evaluation)
    facts = [*FACTS, LONG]
    work = Workspace(tmp_path / "run", new_base(), facts, plan, lambda _: silent)
    work.open()

    judgement = work.evaluate()

    assert judgement.counts["facts"] == 5
    assert judgement.counts["skipped"] == 1
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["training"]["steps"] == 6
    manifest = json.loads((tmp_path / "run" / "adapter" / MANIFEST).read_text())
    kind = METHODS[name][0]["type"]
    assert manifest["method"]["type"] == kind
    assert manifest["training"]["retention"]["type"] == ("none" if kind == "opsd" else kind)
    card = (tmp_path / "run" / "adapter" / "README.md").read_text()
    assert {"opsd": "its own answers", "kl": "held to the base", "replay": "says to open prompts"}[
        kind
    ] in card
    methods = {record.method for record in work.generate()}
    assert methods == {"opsd" if kind == "opsd" else "sft"}
