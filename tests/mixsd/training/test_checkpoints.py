"""Checkpoints: whole or absent, the last two and the best, refused where they do not belong."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mixsd.durable import sha256_of_file
from mixsd.errors import CorruptError, DiskFullError
from mixsd.models.load import Base
from mixsd.progress import Progress
from mixsd.training import checkpoint, lora
from mixsd.training.checkpoint import Cursor, Saved
from mixsd.training.hooks import Hooks
from tests.mixsd.training.conftest import NewBase
from tests.mixsd.training.driving import CONFIG, DIGEST, equal, train, weights

EVERY_STEP = replace(CONFIG, checkpoint_seconds=0)
FAST = replace(EVERY_STEP, epochs=6, learning_rate=1e-2)

Damage = Callable[[Path], object]


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "optimizer.safetensors").unlink(),
        lambda folder: (folder / "more").write_text("x"),
        lambda folder: (folder / "state.json").write_text("{}"),
        lambda folder: (folder / "MANIFEST.json").write_text("{"),
        lambda folder: flip_a_byte(folder / "adapter.safetensors"),
        lambda folder: cut_off(folder / "optimizer.safetensors"),
    ],
    ids=["missing", "too-many", "changed", "no-manifest", "flipped", "truncated"],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_with_a_notice(
    new_base: NewBase, tmp_path: Path, damage: Damage
) -> None:
    straight = weights(train(new_base(), tmp_path, EVERY_STEP))
    folders = checkpoint.newest(list(tmp_path.glob("checkpoint-*")))[:2]
    damage(folders[0])
    steps: list[int] = []
    notices: list[str] = []

    with pytest.raises(CorruptError):
        checkpoint.verify(folders[0])
    trained = train(
        new_base(),
        tmp_path,
        resume=folders,
        hooks=Hooks(on_progress=lambda progress: steps.append(progress.done), on_notice=notices.append),
    )

    assert steps[0] == 5
    assert equal(weights(trained), straight)
    assert len(notices) == 1
    assert "checkpoint-6" in notices[0]


def test_a_checkpoint_of_other_targets_is_passed_over_with_a_notice(
    new_base: NewBase, tmp_path: Path
) -> None:
    train(new_base(), tmp_path)
    steps: list[int] = []
    notices: list[str] = []

    train(
        new_base(),
        tmp_path / "other",
        input_sha256="e" * 64,
        resume=[tmp_path / "checkpoint-6"],
        hooks=Hooks(on_progress=lambda progress: steps.append(progress.done), on_notice=notices.append),
    )

    assert steps[0] == 0
    assert "other targets or settings" in notices[0]


def _less(cursor: dict[str, object]) -> object:
    return cursor.pop("learned_at")


def _more(cursor: dict[str, object]) -> object:
    return cursor.setdefault("of_tomorrow", 1)


@pytest.mark.parametrize("change", [_less, _more])
def test_a_checkpoint_of_another_version_is_passed_over_and_the_run_begins_anew(
    new_base: NewBase, tmp_path: Path, change: Callable[[dict[str, object]], object]
) -> None:
    straight = train(new_base(), tmp_path, CONFIG)
    (folder,) = tmp_path.glob("checkpoint-*")
    state = json.loads((folder / "state.json").read_text())
    change(state["cursor"])
    (folder / "state.json").write_text(json.dumps(state))
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["files"]["state.json"] = sha256_of_file(folder / "state.json")
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    notices: list[str] = []

    trained = train(
        new_base(), tmp_path / "b", CONFIG, resume=[folder], hooks=Hooks(on_notice=notices.append)
    )

    assert len(notices) == 1
    assert "another version" in notices[0]
    assert trained.losses == straight.losses
    assert equal(weights(trained), weights(straight))


def test_a_checkpoint_of_an_adapter_of_another_shape_is_refused(new_base: NewBase, tmp_path: Path) -> None:
    """Should a digest ever be equal: shapes are looked at too."""
    train(new_base(), tmp_path)
    other = lora.attach(new_base(), replace(CONFIG.lora, rank=2), seed=0)

    with pytest.raises(CorruptError, match="shape"):
        lora.set_weights(other, lora.load_weights(tmp_path / "checkpoint-6" / "adapter.safetensors"))


def test_equal_runs_write_equal_bytes(base: Base, tmp_path: Path) -> None:
    for name in ("a", "b"):
        trained = train(base, tmp_path / name)
        lora.detach(trained.model)

    for file in ("adapter.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"):
        digests = {sha256_of_file(tmp_path / name / "checkpoint-6" / file) for name in "ab"}
        assert len(digests) == 1


def spoiling(base: Base, at: int) -> Callable[[Progress], None]:
    """Make an adapter worse after some step, for good."""

    def spoil(progress: Progress) -> None:
        if progress.done == at:
            with torch.no_grad():
                for parameter in base.model.parameters():
                    if parameter.requires_grad:
                        parameter.fill_(9.0)

    return spoil


def test_the_last_two_and_the_one_with_the_least_loss_are_kept(base: Base, tmp_path: Path) -> None:
    losses: list[float] = []
    seen: list[Saved] = []
    spoil = spoiling(base, 6)

    def note(progress: Progress) -> None:
        losses[:] = [*losses, progress.metrics["loss"]] if progress.done else []
        spoil(progress)

    hooks = Hooks(on_progress=note, on_checkpoint=seen.append)
    train(base, tmp_path, FAST, hooks=hooks)

    means = [sum(losses[max(0, step - 2) : step]) / min(2, step) for step in range(1, 13)]
    best = means.index(min(means)) + 1
    assert 1 < best < 7
    assert {path.name for path in tmp_path.iterdir()} == {f"checkpoint-{step}" for step in (best, 11, 12)}
    assert [saved.step for saved in seen] == list(range(1, 13))


def test_what_is_best_outlives_a_resume(new_base: NewBase, tmp_path: Path) -> None:
    for name, steps in (("straight", 12), ("resumed", 9)):
        base = new_base()
        hooks = Hooks(on_progress=spoiling(base, 6))
        train(base, tmp_path / name, replace(FAST, max_steps=steps), hooks=hooks)

    train(new_base(), tmp_path / "resumed", FAST, resume=[tmp_path / "resumed" / "checkpoint-9"])

    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("straight", "resumed")]
    assert names[0] == names[1]
    assert len(names[0]) == 3


def test_a_cursor_knows_its_best_measurement_and_how_many_came_since() -> None:
    cursor = Cursor(step=9, measured=[(3, 0.25), (5, 0.75), (7, 0.75), (9, 0.5)])

    assert (cursor.best, cursor.without_better, cursor.recall) == ((5, 0.75), 2, 0.5)
    assert (Cursor().best, Cursor().without_better, Cursor(step=3).recall) == (None, 0, None)
    cursor.note_best(2.0)
    assert cursor.best_saved == (0.5, -2.0, 9)
    cursor.step = 10
    cursor.note_best(0.1)
    assert cursor.best_saved == (0.5, -2.0, 9), "where recall was measured it decides"


def test_a_full_disk_leaves_the_checkpoints_before(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = save_file

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if "checkpoint-4" in str(path) and path.name == "optimizer.safetensors":
            raise OSError(28, "No space left on device")
        saving(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)

    with pytest.raises(DiskFullError, match="checkpoint-4"):
        train(base, tmp_path, EVERY_STEP)

    assert checkpoint.newest(list(tmp_path.iterdir()))[0].name == "checkpoint-3"
    checkpoint.verify(tmp_path / "checkpoint-3")


KILLED = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
import torch
from mixsd.models.load import load_base
from mixsd.models.registry import find
from mixsd.training import checkpoint
from tests.mixsd.training.driving import CONFIG, train

torch.set_num_threads(1)
saving = checkpoint.save_file

def killed(tensors, path):
    if "checkpoint-4" in str(path) and path.name == "optimizer.safetensors":
        Path(path).write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    saving(tensors, path)

checkpoint.save_file = killed
base = load_base(find(Path(sys.argv[1]), "tiny/random"), device="cpu")
train(base, Path(sys.argv[2]), replace(CONFIG, checkpoint_seconds=0))
"""


def test_a_process_killed_while_it_saves_leaves_the_checkpoints_before(
    new_base: NewBase, tiny_cache: Path, tmp_path: Path
) -> None:
    straight = weights(train(new_base(), tmp_path / "straight"))
    work = tmp_path / "work"

    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tiny_cache), str(work)],
        check=False,
        capture_output=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )

    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    folders = checkpoint.newest(list(work.glob("checkpoint-*")))
    assert folders[0].name == "checkpoint-3"
    assert equal(weights(train(new_base(), work, resume=folders)), straight)
    assert not list(work.glob(".*")), "what was half written is gone"


def test_digests_of_runs_do_not_hold_what_only_rounds(base: Base) -> None:
    from mixsd import run  # noqa: PLC0415
    from mixsd.config import Plan  # noqa: PLC0415

    digests = [
        run.training_input(base, [], Plan(training=replace(CONFIG, **options)))
        for options in (
            {},
            {"micro_batch": 3},
            {"checkpoint_seconds": 1.0},
            {"processes": 4},
            {"processes": 4, "shard": "full"},
            {"batch_size": 3},
        )
    ]

    assert len(set(digests[:5])) == 1
    assert digests[5] not in digests[:5]
    assert DIGEST not in digests
