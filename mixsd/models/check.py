"""What must hold before a base model is used: weights that are data, a template, no code."""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mixsd.errors import ModelError, ModelNotAllowedError, NoChatTemplateError, UnsafeWeightsError

MAX_HEADER: Final = 16 * 1024 * 1024
"""Most bytes of the header of a safetensors file."""
WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16}
    | {"U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64}
)


def check_safetensors(path: Path) -> int:
    """Check the header of a safetensors file against its size; return the number of its values.

    Raises:
        UnsafeWeightsError: It is no safetensors file, or one that was tampered with or cut short.
    """
    size = path.stat().st_size
    header = _header(path, size)
    spans: list[tuple[int, int]] = []
    values = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        try:
            (begin, end), shape, bits = tensor["data_offsets"], tensor["shape"], _BITS[tensor["dtype"]]
            count = math.prod(shape)
            fits = (end - begin) * 8 == count * bits and all(isinstance(n, int) and n >= 0 for n in shape)
        except (KeyError, TypeError, ValueError):
            fits, begin, end, count = False, 0, 0, 0
        if not fits:
            raise UnsafeWeightsError(f"{path.name}: the entry of tensor {name[:100]!r} is malformed")
        spans.append((begin, end))
        values += count
    spans.sort()
    edges = [(0, 0), *spans]
    data = size - 8 - int.from_bytes(_first(path, 8), "little")
    if any(left[1] != right[0] for left, right in pairwise(edges)) or edges[-1][1] != data:
        raise UnsafeWeightsError(f"{path.name}: its tensors overlap, leave gaps, or the file is cut short")
    return values


def _first(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _header(path: Path, size: int) -> dict[str, Any]:
    length = int.from_bytes(_first(path, 8), "little")
    if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
        raise UnsafeWeightsError(f"{path.name} is no safetensors file: the length of its header is wrong")
    try:
        header = json.loads(_first(path, 8 + length)[8:])
    except (ValueError, RecursionError):
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
        raise UnsafeWeightsError(f"there is no {WEIGHTS}: only weights in safetensors are read")
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


def check_loads(folder: Path) -> None:
    """Check that the library knows the architecture, and that prompts can be written.

    Loads the tokenizer but no weights.

    Raises:
        NoChatTemplateError: There is no chat template.
        ModelError: The tokenizer is not fast, or it is no causal language model that we know.
    """
    from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415  slow; headers are checked without
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # noqa: PLC0415

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"config or tokenizer cannot be read: {str(error)[:300]}") from error
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    if not known.intersection(config.architectures or ()):
        raise ModelError(f"{config.architectures} is no causal language model")
    if not tokenizer.is_fast:
        raise ModelError("there is no fast tokenizer (tokenizer.json)")
    if not tokenizer.chat_template:
        raise NoChatTemplateError("the tokenizer has no chat template: use the instruction-tuned model")
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer names no eos token, so no answer would end")


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
