"""What must hold before a base model is used: weights that are data, a template, no code."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mixsd import strict_json
from mixsd.errors import ModelError, ModelNotAllowedError, UnsafeWeightsError

MAX_HEADER: Final = 1024 * 1024
"""Most bytes of the header of a safetensors file: some ten thousand tensors."""
_MAX_AXES: Final = 16
WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16}
    | {"U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64}
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the header of a safetensors file says of a tensor. `begin` and `end` are bytes of the file."""

    dtype: str
    shape: Sequence[int]
    begin: int
    end: int


def check_safetensors(path: Path) -> int:
    """Check the header of a safetensors file against its size; return the number of its values.

    Raises:
        UnsafeWeightsError: It is missing or no safetensors file, or was tampered with or cut short.
    """
    return sum(math.prod(tensor.shape) for tensor in tensors_of(path).values())


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Return what a safetensors file says of each of its tensors.

    Raises:
        UnsafeWeightsError: As `check_safetensors` says.
    """
    if not path.is_file():
        raise UnsafeWeightsError(f"{path.name} is missing: only weights in safetensors are read")
    size = path.stat().st_size
    header = _header(path, size)
    start = 8 + int.from_bytes(_first(path, 8), "little")
    spans: list[tuple[int, int]] = []
    tensors = {}
    for name, said in header.items():
        if name == "__metadata__":
            continue
        found = _span(said, size)
        if found is None:
            raise UnsafeWeightsError(f"{path.name}: the entry of tensor {name[:100]!r} is malformed")
        spans.append(found)
        tensors[name] = Tensor(said["dtype"], said["shape"], start + found[0], start + found[1])
    spans.sort()
    edges = [(0, 0), *spans]
    if any(left[1] != right[0] for left, right in pairwise(edges)) or start + edges[-1][1] != size:
        raise UnsafeWeightsError(f"{path.name}: its tensors overlap, leave gaps, or the file is cut short")
    return tensors


def _span(said: Any, size: int) -> tuple[int, int] | None:
    """Return first byte and end of an entry; None if they and its shape do not go together."""
    try:
        (begin, end), shape, bits = said["data_offsets"], said["shape"], _BITS[said["dtype"]]
        if not isinstance(shape, list) or len(shape) > _MAX_AXES:
            return None
    except (KeyError, TypeError, ValueError):
        return None
    if any(type(number) is not int or not 0 <= number <= size for number in (begin, end, *shape)):
        return None  # before they are multiplied: numbers may have thousands of digits
    count = math.prod(shape)
    return (begin, end) if (end - begin) * 8 == count * bits else None


def _first(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _header(path: Path, size: int) -> dict[str, Any]:
    length = int.from_bytes(_first(path, 8), "little")
    if size >= 8 and MAX_HEADER < length <= size - 8:
        said = f"its header has {length} bytes, and at most {MAX_HEADER} are read: store it in more files"
        raise UnsafeWeightsError(f"{path.name}: {said}")
    if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
        raise UnsafeWeightsError(f"{path.name} is no safetensors file: the length of its header is wrong")
    try:
        header = strict_json.decode(_first(path, 8 + length)[8:].rstrip(b" "))
    except (
        strict_json.JsonProblem
    ):  # a name that is there twice would be read one way here, and another there
        header = None
    if not isinstance(header, dict):
        raise UnsafeWeightsError(f"{path.name} is no safetensors file: its header is not a JSON object")
    return header


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights: one, or those that the index names.

    Raises:
        UnsafeWeightsError: There are none as safetensors, or one is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / WEIGHTS_INDEX).is_file():
        raise UnsafeWeightsError(
            f"there is no {WEIGHTS} in {folder.name}: only weights in safetensors are read"
        )
    names = read_object(folder / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UnsafeWeightsError(f"{WEIGHTS_INDEX} has no `weight_map`")
    files = [folder / name for name in sorted(set(names.values()))]
    for path in files:
        if path.parent != folder or path.suffix != ".safetensors" or not path.is_file():
            raise UnsafeWeightsError(f"{WEIGHTS_INDEX} names {path.name[:100]!r}, which is not there")
    return files


def check_config(folder: Path) -> None:
    """Refuse a model that brings code of its own, or weights that cannot be trained on.

    Raises:
        ModelNotAllowedError: It needs remote code.
        ModelError: There is no usable `config.json`, or the model is quantised.
    """
    config = read_object(folder / "config.json")
    tokenizer = folder / "tokenizer_config.json"
    for settings in (config, read_object(tokenizer) if tokenizer.is_file() else {}):
        if settings.get("auto_map"):
            raise ModelNotAllowedError("the model brings its own code (`auto_map`), which is never run here")
    if config.get("quantization_config"):
        raise ModelError("the model is quantised: use the one in full precision")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: The file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} is missing or is no JSON object")
    return value
