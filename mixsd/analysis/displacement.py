"""What an adapter changes: how far, and how far where the model is sensitive. Exact, layer by layer.

The change of a layer is D = s B A, with A [R, I] and B [O, R]. Its squared norm needs R x R numbers
alone. A sum that is weighted element by element does not come apart like that: there D is made in
bands of some rows, and never whole.

Axes: O outputs and I inputs of a layer, R rank, S rows of a band.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor, nn

from mixsd.analysis.errors import NotAnalysableError
from mixsd.models.load import Base
from mixsd.training.lora import CONFIG, WEIGHTS

_FACTOR: Final = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<side>[AB])\.weight")
_ROWS: Final = 256
_PLAIN: Final = ("alpha_pattern", "rank_pattern", "modules_to_save", "target_parameters", "layer_replication")


@dataclass(frozen=True, slots=True)
class Factors:
    """The change of a layer: `scale * b_OR @ a_RI`."""

    a_RI: Tensor
    b_OR: Tensor
    scale: float

    def squared_norm(self) -> float:
        """Return the sum of squares: s^2 tr((B^T B)(A A^T)), of which no matrix is larger than the rank."""
        a_RI, b_OR = self.a_RI.cpu().double(), self.b_OR.cpu().double()
        return self.scale**2 * float(((b_OR.T @ b_OR) * (a_RI @ a_RI.T)).sum())

    def weighted(self, fisher_OI: Tensor) -> float:
        """Return the sum of F D^2 over all weights of the layer, D in bands of rows."""
        wide = torch.float32 if fisher_OI.device.type == "mps" else torch.float64
        a_RI, b_OR = self.a_RI.to(fisher_OI.device, wide), self.b_OR.to(fisher_OI.device, wide)
        total = 0.0
        for start in range(0, len(b_OR), _ROWS):
            rows = slice(start, start + _ROWS)
            change_SI = b_OR[rows] @ a_RI
            total += float((fisher_OI[rows] * change_SI.square_()).sum(-1).cpu().double().sum())
        return self.scale**2 * total


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA that lies in a folder. Its factors are read when they are asked for.

    Attributes:
        scales: By the path of each layer that it changes.
    """

    folder: Path
    scales: dict[str, float]

    def factors(self, path: str) -> Factors:
        """Read the factors of a layer."""
        with safe_open(self.folder / WEIGHTS, framework="pt") as file:
            a_RI, b_OR = (file.get_tensor(_key(path, side)) for side in "AB")
        return Factors(a_RI, b_OR, self.scales[path])


def read_adapter(base: Base, folder: Path) -> Adapter:
    """Look at an adapter, and whether it fits the base model. Its weights are not kept.

    Raises:
        NotAnalysableError: It is no LoRA whose change of a layer is s B A, is of another model, or its
            weights are not finite.
    """
    config = _config_of(folder)
    _check_plain(folder, config)
    shapes = dict(_shapes_of(folder))
    paths = {match["path"] for name in shapes if (match := _FACTOR.fullmatch(name))}
    odd = [name for name in shapes if not _FACTOR.fullmatch(name)]
    if odd or not paths:
        said = f"it also holds {odd[0][:100]!r}" if odd else "it holds no factors"
        raise NotAnalysableError(f"{folder}: {said}, so its change of the model is not that of a plain LoRA")
    scales: dict[str, float] = {}
    for path in sorted(paths, key=_in_order):
        rank = _checked_rank(base, folder, path, shapes)
        scales[path] = float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    adapter = Adapter(folder, scales)
    for path in scales:
        factors = adapter.factors(path)
        if not (factors.a_RI.isfinite().all() and factors.b_OR.isfinite().all()):
            raise NotAnalysableError(f"{folder}: the weights of {path} are not finite: its training diverged")
    return adapter


def _in_order(path: str) -> list[tuple[int, int, str]]:
    """Return what sorts paths so that layer 2 comes before layer 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.split(".")]


def _key(path: str, side: str) -> str:
    return f"base_model.model.{path}.lora_{side}.weight"


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        good = isinstance(config, dict) and isinstance(config["peft_type"], str)
    except (OSError, ValueError, KeyError) as error:
        raise NotAnalysableError(f"{folder} holds no adapter of peft: {CONFIG} cannot be read") from error
    if not good:
        raise NotAnalysableError(f"{folder}: {CONFIG} names no kind of adapter")
    read: dict[str, Any] = config
    return read


def _check_plain(folder: Path, config: dict[str, Any]) -> None:
    """Refuse what changes a layer by anything else than s B A.

    Raises:
        NotAnalysableError: Says what it is, and what cannot be computed.
    """
    if config["peft_type"] != "LORA":
        raise NotAnalysableError(f"{folder} is an adapter of the kind {config['peft_type']} and no LoRA")
    if config.get("use_dora"):
        raise NotAnalysableError(
            f"{folder} is a DoRA, which also scales each row of a weight anew, so that its change is not s B "
            "A: norm, Fisher-weighted displacement and alignment ratio are not computed for it"
        )
    others = [name for name in _PLAIN if config.get(name)]
    others += ["bias"] if config.get("bias", "none") != "none" or config.get("lora_bias") else []
    if others or not isinstance(config.get("lora_alpha"), int | float):
        raise NotAnalysableError(
            f"{folder}: {', '.join(others) or 'no lora_alpha'} in {CONFIG}: its change of a layer is not the "
            "plain s B A, and is not analysed"
        )


def _shapes_of(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                yield name, tuple(file.get_slice(name).get_shape())
    except Exception as error:
        raise NotAnalysableError(f"{folder / WEIGHTS} is no safetensors file: {error}") from error


def _checked_rank(base: Base, folder: Path, path: str, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the rank of a layer.

    Raises:
        NotAnalysableError: The base model has no such linear layer, or it is of another shape.
    """
    try:
        module = base.model.get_submodule(path)
    except AttributeError:
        module = nn.Identity()
    a, b = shapes.get(_key(path, "A"), ()), shapes.get(_key(path, "B"), ())
    if not isinstance(module, nn.Linear) or len(a) != 2 or len(b) != 2:
        raise NotAnalysableError(f"{folder} changes {path}, which is no linear layer of {base.id}")
    if (b[0], a[1]) != (module.out_features, module.in_features) or a[0] != b[1]:
        raise NotAnalysableError(f"{folder} does not fit {path} of {base.id}: it is of another model")
    return int(a[0])
