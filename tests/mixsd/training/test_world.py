"""Several processes give the losses and the adapter of one with the same batches."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mixsd.errors import CorruptError
from mixsd.models.load import Base
from mixsd.training import loop
from mixsd.training.hooks import Hooks
from mixsd.training.world import World
from tests.mixsd.training.conftest import NewBase
from tests.mixsd.training.driving import CONFIG, train, weights

ROOT = Path(__file__).parents[3]
LOCAL = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch
from torch import distributed
from safetensors.torch import save_file
from mixsd.models.load import load_base
from mixsd.models.registry import find
from mixsd.progress import StopRequested
from mixsd.training import checkpoint
from mixsd.training.hooks import Hooks
from tests.mixsd.training.driving import CONFIG, EXAMPLES, train, weights

rank, size, options = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
cache, work, out = map(Path, sys.argv[4:])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{out}/group", rank=rank, world_size=size)
stop = options.pop("stop", None)
asked = [] if rank == 0 else None

def learned(model):
    asked.append(1)
    return len(asked) / 4

def on_progress(progress):
    if progress.done == stop:
        raise StopRequested

held = []

def source(model, step, chosen):
    frozen = [each for each in model.parameters() if not each.requires_grad]
    held.append(sum(getattr(each, "to_local", lambda each=each: each)().nbytes for each in frozen))
    return [EXAMPLES[i] for i in chosen]

made = source if options.pop("source", False) else None
base = load_base(find(cache, "tiny/random"), device="cpu")
hooks = Hooks(learned=learned, on_progress=on_progress if rank == 0 else lambda _: None)
folders = checkpoint.newest(list(work.glob("checkpoint-*")))
said = {"stopped": None}
try:
    trained = train(base, work, replace(CONFIG, **options), resume=folders, hooks=hooks, source=made)
    save_file(weights(trained), out / f"{rank}.safetensors")
    said = {"held": held, "losses": trained.losses, "measured": trained.measured, "stopped": trained.stopped}
except StopRequested:
    pass
(out / f"{rank}.json").write_text(json.dumps(said))
distributed.destroy_process_group()
"""


def together(cache: Path, folder: Path, name: str, size: int = 2, **options: Any) -> list[dict[str, Any]]:
    """Train in processes of a group; return what each made of it."""
    out = folder / name
    out.mkdir()
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", SCRIPT, str(rank), str(size), json.dumps(options)),
                *(str(cache), str(folder / "work"), str(out)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **LOCAL},
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
    finally:
        for process in processes:
            process.kill()
    made = [json.loads((out / f"{rank}.json").read_text()) for rank in range(size)]
    files = [out / f"{rank}.safetensors" for rank in range(size)]
    return [
        said | {"weights": load_file(file)} if file.exists() else said
        for said, file in zip(made, files, strict=True)
    ]


@pytest.mark.parametrize("source", [False, True], ids=["given", "written"])
def test_two_processes_have_the_loss_curve_of_one(
    new_base: NewBase, tiny_cache: Path, tmp_path: Path, *, source: bool
) -> None:
    """Batches of four and of two, and one of a single text, of which one process has none."""
    options: dict[str, Any] = {"epochs": 4, "learning_rate": 1e-2, "batch_size": 5}
    alone = train(new_base(), tmp_path / "alone", replace(CONFIG, **options))

    first, second = together(tiny_cache, tmp_path, "both", source=source, **options)

    assert first["losses"] == second["losses"] == pytest.approx(alone.losses, rel=1e-4)
    assert alone.losses[-1] < alone.losses[0] - 1
    for name, weight in weights(alone).items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        assert torch.allclose(first["weights"][name], weight, atol=1e-3)


def test_the_first_process_alone_is_asked_and_saves_and_all_end_alike(
    tiny_cache: Path, tmp_path: Path
) -> None:
    options = {"epochs": 9, "eval_every": 2, "stop_when_learned": True, "checkpoint_seconds": 0}

    first, second = together(tiny_cache, tmp_path, "both", **options)

    assert first["measured"] == second["measured"] == [[2, 0.25], [4, 0.5], [6, 0.75], [8, 1.0]]
    assert first["stopped"] == second["stopped"] == "learned"
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"checkpoint-7", "checkpoint-8"}


def test_a_stop_ends_all_and_they_go_on_together(tiny_cache: Path, tmp_path: Path) -> None:
    straight = together(tiny_cache, tmp_path, "straight")
    (tmp_path / "work").rename(tmp_path / "elsewhere")

    stopped = together(tiny_cache, tmp_path, "stopped", stop=3)
    resumed = together(tiny_cache, tmp_path, "resumed")

    assert [said["stopped"] for said in stopped] == [None, None]
    for before, after in zip(straight, resumed, strict=True):
        assert before["losses"] == after["losses"]
        assert all(torch.equal(before["weights"][name], weight) for name, weight in after["weights"].items())


def test_processes_that_stand_at_different_steps_do_not_go_on(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Apart(World):
        """With another process, which is a step ahead."""

        def __init__(self) -> None:
            self.size, self.rank = 2, 0

        def total(self, value: float) -> float:
            return 2 * value + 1

    monkeypatch.setattr(loop, "World", Apart)

    with pytest.raises(CorruptError, match="do not read the same checkpoints"):
        train(base, tmp_path)


def test_without_a_group_a_process_has_all_of_a_batch() -> None:
    world = World()

    assert (world.size, world.first, world.share_of([1, 2, 3])) == (1, True, [1, 2, 3])
    assert world.total(2.5) == 2.5
    assert world.ask_first(lambda: 0.25) == 0.25
    assert Hooks().learned is None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_shares_are_the_batch_cut_evenly(size: int, count: int) -> None:
    worlds = [World() for _ in range(size)]
    for rank, world in enumerate(worlds):
        world.size, world.rank = size, rank

    shares = [world.share_of(range(count)) for world in worlds]

    assert [item for share in shares for item in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
