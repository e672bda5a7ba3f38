"""How much may be computed at once: what a token keeps for the backward pass, and what memory is free."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

_USED: Final = 0.7
"""Share of the free memory that activations may take; gradients under way take the rest."""

_WORTHWHILE: Final = 256
"""Tokens of a pass below which computing layers twice is better than cutting the batch further."""

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Room:
    """What is computed at once.

    Attributes:
        tokens: Most tokens of a pass; 0 for any number.
        twice: Keep only what enters a layer, and compute the layer again in the backward pass.
    """

    tokens: int = 0
    twice: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a token keeps until the backward pass, as it is and with layers computed twice."""

    once: float
    twice: float


def room_for(needs: Needs, free: int | None, *, longest: int, largest: int) -> Room:
    """Return what to compute at once.

    Args:
        needs: Of the model, see `needs_of`.
        free: Bytes that are free, None if unknown: then all is computed at once.
        longest: Tokens of the longest text, which cannot be cut.
        largest: Tokens of the largest batch. Where there is room for it, none is cut, however much
            more memory there is.
    """
    if free is None or (tokens := int(_USED * free / needs.once)) >= largest:
        return Room()
    if tokens >= max(longest, _WORTHWHILE) or needs.twice >= needs.once:
        return Room(max(tokens, 1))
    return Room(max(int(_USED * free / needs.twice), 1), twice=True)


def needs_of(model: nn.Module, kept: int, tokens: int) -> Needs:
    """Return what a token of a model keeps.

    Args:
        model: The model.
        kept: Bytes that a forward pass kept, see `counted`.
        tokens: How many it was of.
    """
    layers = checkpointed_layers(model)
    once = kept / tokens
    if not layers:
        return Needs(once, once)
    config = model.config.get_text_config()  # type: ignore[operator,union-attr]
    entering = len(layers) * config.hidden_size * torch.float32.itemsize
    return Needs(once, entering + once / len(layers))


@contextmanager
def counted(besides: Sequence[Tensor]) -> Iterator[dict[int, int]]:
    """Note what is kept for backward passes by forward passes within the block.

    Yields:
        Bytes by address, without the tensors `besides`: those are there anyway.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in besides}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not _is_weight(tensor) and storage.data_ptr() not in known:
            kept[storage.data_ptr()] = max(storage.nbytes(), kept.get(storage.data_ptr(), 0))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept


def _is_weight(tensor: Tensor) -> bool:
    """Say whether a tensor is a parameter or looks at one: those of a sharded layer come and go."""
    return isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter)  # noqa: SLF001


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory of a device is free, None where that is unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type != "cpu":
        return None
    found = [size for size in (_available(), _left_in_group()) if size is not None]
    return min(found, default=None)


def _available() -> int | None:
    if not _MEMINFO.exists():
        return None
    lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None


def _left_in_group() -> int | None:
    """Return what the control group of this process, usually a container, may still take."""
    most, now = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not (most.exists() and now.exists()) or (limit := most.read_text().strip()) == "max":
        return None
    return max(0, int(limit) - int(now.read_text()))


def checkpointed_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model that can be computed twice."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def layers_twice(model: nn.Module) -> Iterator[None]:
    """Keep only what enters a layer in forward passes within the block, and compute it again."""
    layers: list[Any] = checkpointed_layers(model)
    try:
        for layer in layers:
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # noqa: SLF001
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("gradient_checkpointing", None)
            layer.__dict__.pop("_gradient_checkpointing_func", None)


def ran_out(error: BaseException) -> bool:
    """Say whether an error means that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
