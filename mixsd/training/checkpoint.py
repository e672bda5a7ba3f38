"""Checkpoints: everything that the rest of a training run depends on, without pickle.

A folder with safetensors and JSON, and a manifest of their digests. It is complete or absent.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor

from mixsd.durable import sha256_of_file, whole_folder
from mixsd.errors import CorruptError
from mixsd.training import lora

MANIFEST: Final = "MANIFEST.json"
_ADAPTER: Final = "adapter.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_STATE: Final = "state.json"


@dataclass(slots=True)
class Cursor:
    """Where a run stands. `step` counts optimizer steps, `batch` those of the epoch.

    `epoch_nll` and `epoch_tokens` sum up the epoch so far, `last_epoch_loss` is the mean of the
    one before. `losses` holds the mean loss of each step, nats per token.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    epoch_nll: float = 0.0
    epoch_tokens: float = 0
    last_epoch_loss: float | None = None
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint on disk. `manifest_sha256` is the digest that vouches for all of it."""

    folder: Path
    step: int
    manifest_sha256: str
    bytes: int


def save(
    folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, cursor: Cursor, *, input_sha256: str
) -> Saved:
    """Write a checkpoint.

    Args:
        folder: Its place; written under another name and renamed.
        model: The model with the adapter.
        optimizer: The state of its parameters' moments.
        cursor: Where the run stands.
        input_sha256: Digest of targets and settings; only a run with the same may resume from it.

    Raises:
        DiskFullError: There is no room; nothing is left behind.
    """
    with whole_folder(folder, folder.with_name(f".{folder.name}.partial")) as draft:
        save_file(lora.weights_of(model), draft / _ADAPTER)
        save_file(_moments_of(optimizer) | _random_state(), draft / _OPTIMIZER)
        state = {"cursor": asdict(cursor), "input_sha256": input_sha256, "torch": torch.__version__}
        (draft / _STATE).write_text(json.dumps(state))
        files = {name: sha256_of_file(draft / name) for name in (_ADAPTER, _OPTIMIZER, _STATE)}
        manifest = json.dumps({"files": files}, sort_keys=True).encode()
        (draft / MANIFEST).write_bytes(manifest)
        size = sum(path.stat().st_size for path in draft.iterdir())
    return Saved(folder, cursor.step, hashlib.sha256(manifest).hexdigest(), size)


def verify(folder: Path, manifest_sha256: str | None = None) -> str:
    """Check every file of a checkpoint against its manifest, and return the manifest's digest.

    Raises:
        CorruptError: A file is missing, changed or too many, or the manifest is not the one named.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
        files: Mapping[str, str] = json.loads(manifest)["files"]
        found = {path.name for path in folder.iterdir()} - {MANIFEST}
        changed = [name for name, digest in files.items() if sha256_of_file(folder / name) != digest]
    except (OSError, ValueError, KeyError) as error:
        raise CorruptError(f"checkpoint {folder.name} cannot be read: {error}") from error
    if changed or found != files.keys():
        raise CorruptError(f"checkpoint {folder.name} is not complete or was changed: {', '.join(changed)}")
    digest = hashlib.sha256(manifest).hexdigest()
    if manifest_sha256 not in (None, digest):
        raise CorruptError(f"checkpoint {folder.name} is another one than was registered")
    return digest


def restore(folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, *, input_sha256: str) -> Cursor:
    """Bring model, optimizer and torch's random state to where the checkpoint was made.

    Raises:
        CorruptError: The checkpoint is damaged, or belongs to other targets or settings.
    """
    verify(folder)
    state = json.loads((folder / _STATE).read_text())
    if state["input_sha256"] != input_sha256:
        raise CorruptError(f"checkpoint {folder.name} belongs to other targets or settings")
    lora.set_weights(model, lora.load_weights(folder / _ADAPTER))
    tensors = lora.load_weights(folder / _OPTIMIZER)
    _set_random_state(tensors)
    _set_moments(optimizer, tensors)
    return Cursor(**state["cursor"])


def newest(folders: Sequence[Path]) -> list[Path]:
    """Return checkpoint folders by the step in their name, the last first."""

    def step(folder: Path) -> int:
        number = folder.name.rpartition("-")[2]
        return int(number) if number.isdigit() else -1

    return sorted(folders, key=step, reverse=True)


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
        torch.cuda.set_rng_state_all(states)
