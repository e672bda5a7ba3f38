"""Checkpoints: everything that the rest of a training run depends on, without pickle.

A folder with safetensors and JSON, and a manifest of their digests. It is complete or absent.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor

from mixsd.durable import sha256_of_file, whole_folder
from mixsd.errors import CorruptError
from mixsd.manifest import MANIFEST
from mixsd.manifest import verify as verify  # noqa: PLC0414  whoever has checkpoints asks here
from mixsd.training import lora

_ADAPTER: Final = "adapter.safetensors"
_BEST: Final = "best.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_STATE: Final = "state.json"


@dataclass(slots=True)
class Cursor:
    """Where a run stands. `step` counts optimizer steps, `batch` those of the epoch.

    Attributes:
        epoch_nll: Summed loss of the epoch so far, of `epoch_tokens`; each token with its weight.
        last_epoch_loss: The mean of the epoch before.
        losses: Mean loss of each step, nats per token.
        measured: The steps after which it was measured what the model knows, each with the recall.
        learned_at: The step after which all was learned and training was to end; 0 before that.
        room_tokens: Most tokens of a pass, 0 for any number, None where that is not decided yet.
        twice: Whether layers are computed twice.
        merge: Whether layers are merged that can be.
        best_saved: Recall, mean loss below zero and step of the best checkpoint; by the recall where
            that was measured, else by the loss.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    epoch_nll: float = 0.0
    epoch_tokens: float = 0
    last_epoch_loss: float | None = None
    losses: list[float] = field(default_factory=list)
    measured: list[tuple[int, float]] = field(default_factory=list)
    learned_at: int = 0
    room_tokens: int | None = None
    twice: bool = False
    merge: bool = True
    best_saved: tuple[float, float, int] = (-1.0, -math.inf, 0)

    def note_best(self, loss: float) -> None:
        """Note, before this step is saved, whether it is the best that was."""
        found = (-1.0 if self.recall is None else self.recall, -loss, self.step)
        if found[:2] > self.best_saved[:2]:
            self.best_saved = found

    @property
    def recall(self) -> float | None:
        """What was measured after the last step, if anything."""
        return self.measured[-1][1] if self.measured and self.measured[-1][0] == self.step else None

    @property
    def best(self) -> tuple[int, float] | None:
        """The first measurement with the highest recall."""
        return max(self.measured, key=lambda pair: (pair[1], -pair[0]), default=None)

    @property
    def without_better(self) -> int:
        """Measurements since that one."""
        return sum(step > self.best[0] for step, _ in self.measured) if self.best else 0


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint on disk. `manifest_sha256` is the digest that vouches for all of it."""

    folder: Path
    step: int
    manifest_sha256: str
    bytes: int


def save(
    folder: Path,
    model: PeftModel,
    optimizer: torch.optim.Optimizer,
    cursor: Cursor,
    *,
    input_sha256: str,
    best: Mapping[str, Tensor] | None = None,
) -> Saved:
    """Write a checkpoint.

    Args:
        folder: Its place; written under another name and renamed.
        model: The model with the adapter.
        optimizer: The state of its parameters' moments.
        cursor: Where the run stands.
        input_sha256: Digest of targets and settings; only a run with the same may resume from it.
        best: Weights of the adapter when it knew most, where the run may go back to them.

    Raises:
        DiskFullError: There is no room; nothing is left behind.
    """
    with whole_folder(folder, folder.with_name(f".{folder.name}.partial")) as draft:
        save_file(lora.weights_of(model), draft / _ADAPTER)
        save_file(_moments_of(optimizer) | _random_state(), draft / _OPTIMIZER)
        if best is not None:
            save_file(dict(best), draft / _BEST)
        state = {"cursor": asdict(cursor), "input_sha256": input_sha256, "torch": torch.__version__}
        (draft / _STATE).write_text(json.dumps(state))
        files = {path.name: sha256_of_file(path) for path in sorted(draft.iterdir())}
        manifest = json.dumps({"files": files}, sort_keys=True).encode()
        (draft / MANIFEST).write_bytes(manifest)
        size = sum(path.stat().st_size for path in draft.iterdir())
    return Saved(folder, cursor.step, hashlib.sha256(manifest).hexdigest(), size)


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a checkpoint was made, and the weights of the best adapter until then, if it holds them."""

    cursor: Cursor
    best: dict[str, Tensor] | None


def restore(
    folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, *, input_sha256: str
) -> Restored:
    """Bring model, optimizer and torch's random state to where the checkpoint was made.

    Raises:
        CorruptError: The checkpoint is damaged, or belongs to other targets, settings or another version.
    """
    verify(folder)
    state = json.loads((folder / _STATE).read_text())
    if state["input_sha256"] != input_sha256:
        raise CorruptError(f"checkpoint {folder.name} belongs to other targets or settings")
    if state["cursor"].keys() != {each.name for each in fields(Cursor)}:  # training may go on otherwise there
        raise CorruptError(f"checkpoint {folder.name} was made by another version of mixsd")
    lora.set_weights(model, lora.load_weights(folder / _ADAPTER))
    tensors = lora.load_weights(folder / _OPTIMIZER)
    _set_random_state(tensors)
    _set_moments(optimizer, tensors)
    best = lora.load_weights(folder / _BEST) if (folder / _BEST).exists() else None
    return Restored(_cursor_from(state["cursor"]), best)


def _cursor_from(stored: dict[str, Any]) -> Cursor:
    measured = [(int(step), float(recall)) for step, recall in stored["measured"]]
    recall, loss, step = stored["best_saved"]
    return Cursor(**{**stored, "measured": measured, "best_saved": (recall, loss, step)})


def newest(folders: Sequence[Path]) -> list[Path]:
    """Return checkpoint folders by the step in their name, the last first."""
    return sorted(folders, key=_step_of, reverse=True)


def prune(work: Path, keep: Collection[int]) -> None:
    """Delete the checkpoints of a run but those of some steps, and what a crash left half written."""
    old = [folder for folder in work.glob("checkpoint-*") if _step_of(folder) not in keep]
    for folder in (*old, *work.glob(".checkpoint-*")):
        shutil.rmtree(folder, ignore_errors=True)


def _step_of(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index:06d}.{name}": torch.as_tensor(value).detach().contiguous().cpu()
        for index, values in state.items()
        for name, value in values.items()
    }


def _set_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, what = name.partition(".")
        if index.isdigit():
            moments.setdefault(int(index), {})[what] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})


def _random_state() -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"rng.cuda.{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set_random_state(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if torch.cuda.is_available():
        states = [tensor for name, tensor in sorted(tensors.items()) if name.startswith("rng.cuda.")]
        torch.cuda.set_rng_state_all(states[: torch.cuda.device_count()])  # there were more elsewhere
