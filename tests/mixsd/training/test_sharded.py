"""A base whose layers are shared out gives the gradients, losses and adapter of one that is whole."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from mixsd import run
from mixsd.decoding.rows import base_of, logits_alone
from mixsd.errors import ConfigError, OutOfMemoryError, ProcessLostError
from mixsd.models.load import Base
from mixsd.progress import StopRequested
from mixsd.training import lora, memory, sharded
from mixsd.training.batches import Example
from mixsd.training.hooks import Hooks
from mixsd.training.memory import Room
from mixsd.training.sharded import Shards, check_layers
from mixsd.training.step import Gradients, gradient_of
from mixsd.training.suited import choose
from mixsd.training.ways import PlainWay, TreeWay
from mixsd.training.world import World, is_lost
from tests.fixtures.families import FAMILIES, make_family
from tests.mixsd.training.conftest import NewBase
from tests.mixsd.training.driving import (
    CONFIG,
    a_batch,
    a_weighted_batch,
    adapted,
    all_in_float64,
    gradient,
    off,
    train,
    trained_of,
    weights,
)
from tests.mixsd.training.test_launch import at_step, checkpoints, plan_of, stop, trained
from tests.mixsd.training.test_world import LOCAL, ROOT, together

SHARDED: dict[str, Any] = {"shard": "full", "processes": 2}
SHARDS = "the base model is sharded"


# -- one process with all parts: what is computed, on every family


@pytest.fixture
def group(tmp_path: Path) -> Iterator[World]:
    """Be in a process group, alone."""
    store = distributed.FileStore(str(tmp_path / "group"), 1)  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield World()
    distributed.destroy_process_group()


@pytest.mark.parametrize("way", ["tree", "rows"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_the_whole_model(group: World, name: str, way: str) -> None:
    """In pieces, with layers computed twice, and beside others that have more to do."""
    model = adapted(make_family(name, torch.float64))

    def made(**options: Any) -> Tensor:
        tree = TreeWay(model) if way == "tree" else PlainWay(model, pad_id=0)
        return gradient(model, tree, a_weighted_batch(), **options)

    with all_in_float64():
        wanted = made()
        shards = Shards(model, group)
        for options in ({}, {"most": 1}, {"room": Room(tokens=20, twice=True)}):
            assert off(made(shards=shards, **options), wanted) < 1e-9
        shards.most = lambda count: count + 2  # type: ignore[method-assign]
        assert off(made(shards=shards), wanted) < 1e-9
        shards.end()
        assert torch.equal(made(), wanted)


def test_who_has_no_texts_gathers_layers_with_the_others(group: World) -> None:
    model = adapted(make_family("llama"))
    shards = Shards(model, group)
    shards.most = lambda count: count + 1  # type: ignore[method-assign]
    gradients = Gradients(model, TreeWay(model), merged=None, autocast=None, shards=shards)

    loss = gradients.add([], 5.0)

    assert loss == 0
    assert all(each.grad is not None and not each.grad.any() for each in trained_of(model))


@pytest.mark.parametrize("twice", [False, True])
def test_weights_of_gathered_layers_are_not_counted_as_what_a_token_keeps(
    group: World, *, twice: bool
) -> None:
    model = adapted(make_family("llama"))
    with memory.counted(list(model.parameters())) as wanted:
        gradient(model, TreeWay(model), room=Room(twice=twice))

    shards = Shards(model, group)
    with memory.counted(trained_of(model)) as found:
        gradient(model, TreeWay(model), room=Room(twice=twice), shards=shards)

    assert sum(found.values()) == pytest.approx(sum(wanted.values()), rel=0.1)


def test_layers_are_not_merged_and_a_run_may_be_merged_later(group: World) -> None:
    from mixsd.training.checkpoint import Cursor  # noqa: PLC0415
    from mixsd.training.start import gradients_for  # noqa: PLC0415

    model, notices, cursor = adapted(make_family("llama")), list[str](), Cursor()
    wanted = gradient(model)

    gradients = gradients_for(
        model,
        a_batch(),
        CONFIG,
        cursor,
        pad_id=0,
        longest=30,
        notice=notices.append,
        shards=Shards(model, group),
    )

    assert len(notices) == 1
    assert notices[0].endswith(SHARDS)
    assert cursor.merge
    assert off(gradient_of(gradients, a_batch(), trained_of(model)), wanted) < 1e-4


def test_a_way_that_fails_in_the_middle_is_passed_over(group: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model, notices = adapted(make_family("gemma2")), list[str]()
    wanted = gradient(model)
    shards = Shards(model, group)

    found = choose(
        model, a_batch(), pad_id=0, autocast=None, merge=False, notice=notices.append, shards=shards
    )

    assert found.way.name == "rows"
    assert "softcap" in notices[0]
    assert off(gradient(model, found.way, shards=shards), wanted) < 1e-4


def test_all_take_the_slower_way_if_one_objects(group: World) -> None:
    model, notices = adapted(make_family("llama")), list[str]()
    shards = Shards(model, group)
    answers = iter([0, 1, 0])  # gradients are finite; another one objects to the tree, none to rows
    shards.most = lambda count: count or next(answers)  # type: ignore[method-assign]

    found = choose(
        model, a_batch(), pad_id=0, autocast=None, merge=False, notice=notices.append, shards=shards
    )

    assert found.way.name == "rows"
    assert "another process" in notices[0]


def short(way: TreeWay, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(examples: Sequence[Example]) -> Tensor:
        raise error

    monkeypatch.setattr(way, "loss", failing)


def test_memory_that_runs_out_ends_the_run_with_what_to_set(
    group: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are in the middle of the pass: no process can begin it again by itself."""
    model = adapted(make_family("llama"))
    way = TreeWay(model)
    gradients = Gradients(
        model, way, merged=None, autocast=None, shards=Shards(model, group), notice=pytest.fail
    )
    short(way, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))

    with pytest.raises(OutOfMemoryError, match="set micro_batch"):
        gradients.add(a_batch(), 1.0)


def test_other_failures_are_not_taken_for_a_lost_process(
    group: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(make_family("llama"))
    way = TreeWay(model)
    gradients = Gradients(model, way, merged=None, autocast=None, shards=Shards(model, group))
    short(way, monkeypatch, RuntimeError("shapes do not fit"))

    with pytest.raises(RuntimeError, match="shapes"):
        gradients.add(a_batch(), 1.0)
    assert is_lost(distributed.DistBackendError("NCCL error"))
    assert not is_lost(ValueError("gloo"))


def test_the_whole_model_is_back_within_the_block_and_afterwards(group: World) -> None:
    model = adapted(make_family("llama")).eval()
    own = base_of(model).model

    @torch.no_grad()
    def scores() -> Tensor:
        found: Tensor = model(torch.tensor([[5, 6, 7]])).logits
        return found

    wanted = scores()
    shards = Shards(model, group)
    assert base_of(model).model is not own
    with shards.whole():
        assert base_of(model).model is own
        assert torch.equal(scores(), wanted)
    assert base_of(model).model is not own
    trained_of(model)[1].data.add_(1.0)  # the twin and the model's own layers have one adapter
    changed = scores()
    shards.end()

    assert base_of(model).model is own
    assert torch.allclose(scores(), changed, atol=1e-5)
    assert not torch.allclose(changed, wanted, atol=1e-3)


# -- several processes


@pytest.mark.parametrize("size", [2, 3])
def test_processes_hold_a_part_each_and_have_the_loss_curve_of_one(
    new_base: NewBase, tiny_cache: Path, tmp_path: Path, size: int
) -> None:
    """Batches of five and of one text, of which processes have two, one and none."""
    options: dict[str, Any] = {"epochs": 4, "learning_rate": 1e-2, "batch_size": 5}
    whole = new_base()
    layers = sum(each.nbytes for each in whole.model.model.layers.parameters())
    others = sum(each.nbytes for each in whole.model.parameters()) - layers
    alone = train(whole, tmp_path / "alone", replace(CONFIG, **options))

    made = together(tiny_cache, tmp_path, "both", size, source=True, shard="full", processes=size, **options)

    for said in made:
        assert said["losses"] == made[0]["losses"] == pytest.approx(alone.losses, rel=1e-4)
        for name, weight in weights(alone).items():
            assert torch.equal(said["weights"][name], made[0]["weights"][name])
            # AdamW divides by the size of a gradient: where that is next to nothing, rounding shows.
            assert (said["weights"][name] - weight).norm() < 1e-3 * weight.norm()
        held = {each - others for each in said["held"]}
        assert len(held) == 1
        assert held.pop() / layers == pytest.approx(1 / size, rel=0.05)
    assert sum(said["held"][0] - others for said in made) == layers
    assert alone.losses[-1] < alone.losses[0] - 1


def test_a_run_that_starts_its_other_processes_gives_the_curve_of_one(
    new_base: NewBase, tmp_path: Path
) -> None:
    """With questions asked in between, and answers of the base, which the first process writes for all."""
    alone = trained(new_base(), plan_of("kl"), tmp_path / "alone")
    base, fresh, notices = new_base(), new_base(), list[str]()

    both = trained(base, plan_of("kl", **SHARDED), tmp_path / "both", hooks=Hooks(on_notice=notices.append))

    assert [notice for notice in notices if notice.endswith(SHARDS)] == notices
    assert len(notices) == 1
    assert both.losses == pytest.approx(alone.losses, rel=1e-4)
    assert both.measured == alone.measured
    for place, weight in weights(alone).items():
        assert torch.allclose(weights(both)[place], weight, atol=1e-3)
    asked = [5, 6, 7, 8]
    with torch.no_grad():
        one, two = (logits_alone(each.model.eval(), asked, last=4) for each in (alone, both))
    assert torch.allclose(one, two, atol=1e-2)
    lora.detach(both.model)
    assert all(map(torch.equal, base.model.parameters(), fresh.model.parameters()))


@pytest.mark.parametrize("first", [SHARDED, {}], ids=["sharded-first", "sharded-last"])
def test_a_checkpoint_goes_on_with_and_without_shards(
    new_base: NewBase, tmp_path: Path, first: dict[str, Any]
) -> None:
    straight = trained(new_base(), plan_of(), tmp_path / "straight")
    with pytest.raises(StopRequested):
        trained(new_base(), plan_of(**first), tmp_path / "work", hooks=at_step(3, stop))
    folders = checkpoints(tmp_path / "work")
    assert folders[0].name == "checkpoint-3"

    for rest in (SHARDED, {}) if first else (SHARDED,):
        notices: list[str] = []
        work = tmp_path / f"resumed-{len(rest)}"
        resumed = trained(
            new_base(), plan_of(**rest), work, resume=folders, hooks=Hooks(on_notice=notices.append)
        )
        assert not any("passed over" in notice for notice in notices)
        assert resumed.losses == pytest.approx(straight.losses, rel=1e-4)
        names = [{path.name for path in folder.iterdir()} for folder in (folders[0], checkpoints(work)[0])]
        assert names[0] == names[1]
        for place, weight in weights(straight).items():
            assert torch.allclose(weights(resumed)[place], weight, atol=1e-3)


DYING = """
import os, sys
from dataclasses import replace
from pathlib import Path
import torch
from torch import distributed
from mixsd.decoding.rows import base_of
from mixsd.models.load import load_base
from mixsd.models.registry import find
from tests.mixsd.training.driving import CONFIG, EXAMPLES, train

rank, cache, work = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{work}/group", rank=rank, world_size=2)

def source(model, step, chosen):
    if step == 2 and rank == 1:
        base_of(model).model.layers[1].register_forward_pre_hook(lambda *_: os._exit(9), prepend=True)
    return [EXAMPLES[i] for i in chosen]

base = load_base(find(cache, "tiny/random"), device="cpu")
train(base, work, replace(CONFIG, shard="full", processes=2), source=source)
"""


def test_a_process_that_dies_in_the_middle_of_a_pass_is_noticed(tiny_cache: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DYING, str(rank), str(tiny_cache), str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **LOCAL},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=300)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()

    assert [process.returncode for process in processes] == [1, 9], errors
    assert f"{ProcessLostError.__name__}: another process of the run is gone" in errors[0]


# -- what is refused


def test_one_process_alone_is_not_sharded(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shard full shares a model out among processes, and there is one"):
        train(base, tmp_path, replace(CONFIG, **SHARDED))


def test_a_model_without_layers_is_refused_before_anything_is_made(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_layers(base.model)
    run.check(base, plan_of(**SHARDED))
    monkeypatch.setattr(sharded, "checkpointed_layers", lambda _: [])

    with pytest.raises(ConfigError, match="LlamaForCausalLM has no layers that can be sharded: set shard"):
        run.check(base, plan_of(**SHARDED))
