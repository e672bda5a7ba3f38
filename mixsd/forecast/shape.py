"""How large a model is, and what memory and disk a run with it takes. Nothing here loads torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mixsd.config import LoraConfig

FLOAT: Final = 4
HALF: Final = 2
HALF_BYTES: Final = 2_000_000_000
"""Weights above this are kept in bfloat16 on a GPU, see `mixsd.models.load`."""
RUNTIME: Final = 1_200_000_000
"""Memory of a process that has loaded torch, before any weights."""
_PER_HIDDEN: Final = 16
_PER_INTERMEDIATE: Final = 5
"""Values that a layer keeps of a token until the backward pass, in widths of its state and of its MLP."""
_CHECKPOINTS: Final = 3
"""The last two and the best."""
_AUTO: Final = "auto"
_NVIDIA: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model. What its `config.json` does not say is None.

    Attributes:
        bytes: Of its weights on disk.
        attention: Width of all heads; `keys`: of those that keys, and values, have.
    """

    parameters: int | None = None
    bytes: int | None = None
    layers: int | None = None
    hidden: int | None = None
    intermediate: int | None = None
    vocabulary: int | None = None
    attention: int | None = None
    keys: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `device_least` is with as little computed at once as goes, `device_at_once` without a cut."""

    device_least: int
    device_at_once: int
    host: int
    adapter: int


def shape_of(folder: Path, card: Mapping[str, Any]) -> Shape:
    """Return the sizes of a model on disk."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        config = {}
    files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return shape_in(
        config if isinstance(config, dict) else {}, parameters=card.get("parameters"), bytes_=files
    )


def shape_in(config: Mapping[str, Any], *, parameters: Any = None, bytes_: int | None = None) -> Shape:
    """Return what a model's settings say of its sizes."""
    text = config.get("text_config")
    inner: Mapping[str, Any] = text if isinstance(text, dict) else config

    def number(*names: str) -> int | None:
        for name in names:
            value = inner.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    hidden, heads = number("hidden_size", "n_embd"), number("num_attention_heads", "n_head")
    head = number("head_dim") or (hidden // heads if hidden and heads else None)
    groups = number("num_key_value_heads") or heads
    return Shape(
        parameters=parameters if isinstance(parameters, int) and parameters > 0 else None,
        bytes=bytes_ or None,
        layers=number("num_hidden_layers", "n_layer"),
        hidden=hidden,
        intermediate=number("intermediate_size", "n_inner") or (4 * hidden if hidden else None),
        vocabulary=number("vocab_size"),
        attention=heads * head if heads and head else None,
        keys=groups * head if groups and head else None,
        context=number("max_position_embeddings", "n_positions"),
    )


def memory_of(
    shape: Shape, lora: LoraConfig, *, device: str, longest: int, at_once: int, cached: int
) -> Memory | None:
    """Return what a run takes at its peak, None if too little is known of the model.

    Args:
        device: Kind of device: `cpu`, `cuda` or `mps`.
        longest: Tokens of the longest text that is trained on.
        at_once: Tokens of a whole batch.
        cached: Tokens whose keys and values are kept while texts are decoded side by side.
    """
    known = (shape.layers, shape.hidden, shape.intermediate, shape.vocabulary, shape.attention, shape.keys)
    if shape.parameters is None or None in known:
        return None
    layers, hidden, intermediate, vocabulary, attention, keys = (value or 0 for value in known)
    halved = device == "cuda" and (shape.bytes or shape.parameters * HALF) > HALF_BYTES
    weights = shape.parameters * (HALF if halved else FLOAT)
    adapter = layers * lora.rank * _widths(lora, hidden, intermediate, attention, keys) * FLOAT
    once = layers * (_PER_HIDDEN * hidden + _PER_INTERMEDIATE * intermediate + 4 * attention) * FLOAT
    scores = 3 * vocabulary * FLOAT
    twice = layers * hidden * FLOAT + once // layers
    decoding = cached * 2 * layers * keys * (HALF if halved else FLOAT)
    fixed = weights + 4 * adapter  # with gradients and two moments
    least = fixed + max(longest * (twice + scores), min(decoding, longest * 4 * layers * keys * FLOAT))
    whole = fixed + max(at_once * (once + scores), decoding)
    host = RUNTIME + (whole if device == "cpu" else shape.parameters * FLOAT)
    return Memory(least, max(whole, least), host, adapter)


def kind_of(device: str) -> str:
    """Return the kind of device that a setting comes to: for `auto` a guess, from this very machine.

    Example:
        >>> kind_of("cuda:1")
        'cuda'
    """
    if device == _AUTO:
        return "cuda" if _NVIDIA.exists() else "cpu"
    return device.partition(":")[0]


def disk_of(adapter: int) -> int:
    """Return the bytes that a job writes: checkpoints, with two moments of each weight, adapter and copy."""
    return _CHECKPOINTS * 3 * adapter + 2 * adapter


def _widths(lora: LoraConfig, hidden: int, intermediate: int, attention: int, keys: int) -> int:
    """Return the summed widths, in and out, of the adapted layers of one block."""
    mlp = dict.fromkeys(("gate_proj", "up_proj", "down_proj"), hidden + intermediate)
    heads = {"q_proj": hidden + attention, "o_proj": hidden + attention}
    heads |= {"k_proj": hidden + keys, "v_proj": hidden + keys}
    total = 0
    for name in lora.target_modules:
        match name:
            case "mlp":
                total += sum(mlp.values())
            case "all-linear":
                total += sum(mlp.values()) + sum(heads.values())
            case _:
                total += {**mlp, **heads}.get(name, hidden + intermediate)
    return total
