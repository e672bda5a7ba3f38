"""What must hold of a LoRA adapter that was made elsewhere: it is data, and fits its base model.

Looked at are headers, of the adapter and of the base model, and last the numbers of the adapter. Nothing
here loads torch.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mixsd import strict_json
from mixsd.errors import ModelError, UnsafeWeightsError
from mixsd.models.check import tensors_of, weight_files
from mixsd.models.finite import FLOATS, check_finite

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
MOST_RANK: Final = 512
_MOST_CONFIG: Final = 1_000_000
_MOST_SHOWN: Final = 3
_TENSOR: Final = re.compile(
    r"base_model\.model\.([A-Za-z0-9_.]{1,300})\.(lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?"
)
_PLACE: Final = re.compile(r"(?:^|\.)([A-Za-z_]+\.\d+\..+)$")
"""Of a layer in a stack: all from the name of the stack on. What stands before differs between files."""
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_TAKEN: Final = (
    *("modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication", "lora_bias"),
    *(
        "auto_mapping",
        "megatron_config",
        "corda_config",
        "eva_config",
        "arrow_config",
        "alora_invocation_tokens",
    ),
)
"""Settings that make more of an adapter than pairs of matrices, or another function of them."""
_KEPT: Final = ("lora_alpha", "lora_dropout", "use_dora", "use_rslora", "fan_in_fan_out")
_TASKS: Final = (None, "CAUSAL_LM")
_PLAIN_STARTS: Final = (True, False, None, "gaussian", "orthogonal")


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter that fits. `config` is what peft needs of its settings, and nothing else."""

    rank: int
    modules: Sequence[str]
    config: Mapping[str, Any]


@dataclass(slots=True)
class _Pair:
    """The shapes of the tensors of one layer."""

    down: Sequence[int] | None = None
    up: Sequence[int] | None = None
    magnitude: Sequence[int] | None = None


def check_lora(folder: Path, base: Path, *, names: Sequence[str]) -> Lora:
    """Check the two files of an adapter in `folder` against the base model in the folder `base`.

    Args:
        folder: Where the adapter lies.
        base: Where the base model lies.
        names: By which the base model is known.

    Raises:
        ModelError: It is no plain LoRA, none of this base model, or has numbers that are not finite; the
            message says why.
        UnsafeWeightsError: The weights are no sound safetensors file.
    """
    config = _config(folder / CONFIG)
    _check_kind(config)
    _check_base(config, names)
    rank = _number(config, "r", MOST_RANK)
    pairs = _pairs(folder / WEIGHTS)
    for module, pair in pairs.items():
        _check_pair(
            module, pair, rank, ranks=bool(config.get("rank_pattern")), dora=bool(config.get("use_dora"))
        )
    shapes = _shapes(base)
    _check_fit(pairs, shapes, swapped=bool(config.get("fan_in_fan_out")))
    _check_coverage(config, pairs, shapes)
    plain = _plain(config, rank, sorted(pairs), pairs)
    check_finite(folder / WEIGHTS)
    return Lora(rank, sorted(pairs), plain)


def _config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_CONFIG:
            raise ModelError(f"{CONFIG} is larger than {_MOST_CONFIG} bytes")
        value = strict_json.decode(path.read_bytes())
    except (OSError, strict_json.JsonProblem) as error:
        raise ModelError(f"{CONFIG} is missing or is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{CONFIG} is no JSON object")
    return value


def _check_kind(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{CONFIG}: peft_type is {_shown(config.get('peft_type'))}, and LORA alone is taken")
    if config.get("task_type") not in _TASKS:  # which may be anything
        raise ModelError(f"{CONFIG}: task_type is {_shown(config.get('task_type'))} instead of CAUSAL_LM")
    for name in _NOT_TAKEN:
        if config.get(name):
            raise ModelError(f"{CONFIG}: {name} is not taken: an adapter is pairs of matrices alone")
    if config.get("bias", "none") != "none":
        raise ModelError(f"{CONFIG}: bias is {_shown(config.get('bias'))} instead of none")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise ModelError(
            f"{CONFIG}: init_lora_weights is {_shown(config['init_lora_weights'])}, which changes the base "
            "model: save the adapter with `path_initial_model_for_weight_conversion`"
        )


def _check_base(config: Mapping[str, Any], names: Sequence[str]) -> None:
    said = config.get("base_model_name_or_path")
    if isinstance(said, str) and _HUB_ID.fullmatch(said) and said not in names:
        raise ModelError(
            f"{CONFIG} names the base model {_shown(said)}, and this is {names[0]}: name that one, or "
            "correct base_model_name_or_path if they are the same"
        )


def _pairs(path: Path) -> dict[str, _Pair]:
    pairs: dict[str, _Pair] = defaultdict(_Pair)
    for name, tensor in tensors_of(path).items():
        found = _TENSOR.fullmatch(name)
        if found is None:
            raise ModelError(f"{WEIGHTS}: the tensor {_shown(name)} is no part of a LoRA")
        if tensor.dtype not in FLOATS:
            taken = ", ".join(FLOATS)
            raise UnsafeWeightsError(
                f"{WEIGHTS}: the tensor {_shown(name)} is of type {tensor.dtype}, and one of {taken} is taken"
            )
        module, part = found.groups()
        pair = pairs[module]
        match part:
            case "lora_A":
                pair.down = tensor.shape
            case "lora_B":
                pair.up = tensor.shape
            case _:
                pair.magnitude = tensor.shape
    if not pairs:
        raise ModelError(f"{WEIGHTS} has no tensors")
    return dict(pairs)


def _check_pair(module: str, pair: _Pair, rank: int, *, ranks: bool, dora: bool) -> None:
    missing = [name for name, shape in (("lora_A", pair.down), ("lora_B", pair.up)) if shape is None]
    if dora and pair.magnitude is None:
        missing.append("lora_magnitude_vector")
    if pair.down is None or pair.up is None or missing:
        raise ModelError(f"{WEIGHTS}: {module} has no {missing[0]}")
    if pair.magnitude is not None and not dora:
        raise ModelError(f"{WEIGHTS}: {module} has a lora_magnitude_vector, and use_dora is not set")
    if len(pair.down) != 2 or len(pair.up) != 2 or pair.down[0] != pair.up[1]:
        raise ModelError(f"{WEIGHTS}: the two matrices of {module} do not go together")
    found = pair.down[0]
    if not 1 <= found <= MOST_RANK or (found != rank and not ranks):
        raise ModelError(
            f"{WEIGHTS}: {module} has rank {found}, and {CONFIG} says {rank}, of at most {MOST_RANK}"
        )
    if dora and (pair.magnitude is None or list(pair.magnitude) != [pair.up[0]]):
        raise ModelError(f"{WEIGHTS}: the lora_magnitude_vector of {module} is of another size")


def _shapes(base: Path) -> dict[str, Sequence[int]]:
    """Return the shape of each matrix of the base model, by its place."""
    shapes: dict[str, Sequence[int]] = {}
    for path in weight_files(base):
        for name, tensor in tensors_of(path).items():
            if name.endswith(".weight") and len(tensor.shape) == 2:
                shapes[_place(name.removesuffix(".weight"))] = tensor.shape
    return shapes


def _check_fit(pairs: Mapping[str, _Pair], shapes: Mapping[str, Sequence[int]], *, swapped: bool) -> None:
    for module, pair in pairs.items():
        shape = shapes.get(_place(module))
        if shape is None:
            raise ModelError(f"the base model has no layer {module}")
        wanted = list(reversed(shape)) if swapped else list(shape)
        if pair.up is None or pair.down is None or [pair.up[0], pair.down[1]] != wanted:
            made = pair.up and pair.down and [pair.up[0], pair.down[1]]
            raise ModelError(
                f"{WEIGHTS}: {module} is for a layer of {made}, and the base model's is {wanted}"
            )


def _check_coverage(
    config: Mapping[str, Any], pairs: Mapping[str, _Pair], shapes: Mapping[str, Sequence[int]]
) -> None:
    """See that every layer that the settings name has its pair: one that was lost changes what is said."""
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets or not all(isinstance(each, str) for each in targets):
        raise ModelError(f"{CONFIG}: target_modules is no list of names")
    numbers = config.get("layers_to_transform")
    layers = [numbers] if isinstance(numbers, int) else numbers
    if layers is not None and not (isinstance(layers, list) and all(isinstance(n, int) for n in layers)):
        raise ModelError(f"{CONFIG}: layers_to_transform is no list of numbers")
    only = None if layers is None else frozenset(layers)
    excluded = config.get("exclude_modules")
    left_out = excluded if isinstance(excluded, list) else []
    if not all(isinstance(each, str) for each in left_out):
        raise ModelError(f"{CONFIG}: exclude_modules is no list of names")
    there = {_place(module) for module in pairs}
    named, not_named = _ends(targets), _ends(left_out)
    wanted = {
        place
        for place in shapes
        if not named.isdisjoint(_ends_of(place))
        and not_named.isdisjoint(_ends_of(place))
        and (only is None or _layer(place) in only)
    }
    if missing := sorted(wanted - there):
        more = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
        raise ModelError(f"{WEIGHTS} has no pair for {', '.join(missing[:_MOST_SHOWN])}{more}")
    if beside := sorted(there - wanted):
        raise ModelError(f"{WEIGHTS} has a pair for {beside[0]}, which target_modules does not name")


def _plain(
    config: Mapping[str, Any], rank: int, modules: Sequence[str], pairs: Mapping[str, _Pair]
) -> dict[str, Any]:
    """Return the settings under which peft makes of the weights what they were made for."""
    alpha = config.get("lora_alpha", 8)
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha <= 1e6:
        raise ModelError(f"{CONFIG}: lora_alpha is {_shown(alpha)}, which is no scale")
    alphas = config.get("alpha_pattern") or {}
    if alphas:
        raise ModelError(f"{CONFIG}: alpha_pattern is not taken: one lora_alpha is that of all layers")
    kept = {name: config[name] for name in _KEPT if config.get(name) is not None}
    if any(
        not isinstance(kept.get(name, False), bool) for name in ("use_dora", "use_rslora", "fan_in_fan_out")
    ):
        raise ModelError(f"{CONFIG}: use_dora, use_rslora and fan_in_fan_out are true or false")
    others = {name: pair.down[0] for name, pair in pairs.items() if pair.down and pair.down[0] != rank}
    return {
        **kept,
        "lora_dropout": 0.0,
        "lora_alpha": alpha,
        "r": rank,
        "rank_pattern": others,
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "inference_mode": True,
        "target_modules": list(modules),
    }


def _number(config: Mapping[str, Any], name: str, most: int) -> int:
    value = config.get(name)
    if type(value) is not int or not 1 <= value <= most:
        raise ModelError(f"{CONFIG}: {name} is {_shown(value)}, and must be from 1 to {most}")
    return value


def _place(module: str) -> str:
    found = _PLACE.search(module)
    return found[1] if found else module.rpartition(".")[2]


def _layer(place: str) -> int | None:
    number = place.split(".")[1] if "." in place else ""
    return int(number) if number.isdecimal() else None


def _ends(names: Sequence[str]) -> frozenset[str]:
    """Return how the places of layers end that go by these names."""
    return frozenset(found[1] if (found := _PLACE.search(name)) else name for name in names)


def _ends_of(place: str) -> list[str]:
    """Return the names by which a layer goes."""
    parts = place.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _shown(value: object) -> str:
    return repr(value)[:100].encode(errors="replace").decode()
