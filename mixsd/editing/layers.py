"""Which layers are edited: the last projection of their MLPs, found by its name and then tried.

An edit adds to what an MLP puts out, and counts on that being added to the residual stream as it
is. Where a norm or a factor stands between them (Gemma 2 and 3, OLMo 2, Granite) the closed form
does not hold, so that is tried on the model itself and refused by name.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from mixsd.config import MemitConfig
from mixsd.errors import ConfigError
from mixsd.models.load import Base

_PROJECTION: Final = re.compile(r"(?P<block>(?:.*\.)?(?P<number>\d+))\.mlp\.(?:down_proj|dense_4h_to_h)")
_NAMES: Final = "mlp.down_proj or mlp.dense_4h_to_h"
_OFF: Final = {torch.float64: 1e-6, torch.float32: 1e-3}
_HALF_OFF: Final = 0.1


@dataclass(frozen=True, slots=True)
class EditedLayer:
    """A layer that is edited.

    Attributes:
        number: Of the layer, from 0.
        block: Its path in the base model.
        path: That of the last projection of its MLP.
    """

    number: int
    block: str
    path: str


def band_of(count: int) -> tuple[int, ...]:
    """Return the layers that are edited by default: a band in the early middle of `count`.

    That of the paper (arXiv:2605.16865) for its models of 28 and 36 layers, scaled.

    Example:
        >>> band_of(28)[0], band_of(28)[-1], band_of(36)[0], band_of(36)[-1]
        (3, 11, 4, 14)
    """
    last = min(int(0.4 * count), count - 2)
    return tuple(range(min(round(count / 9), max(last, 0)), last + 1))


def edited_layers(base: Base, config: MemitConfig) -> list[EditedLayer]:
    """Return the layers to edit, the lowest first.

    Args:
        base: The base model, without an adapter on it.
        config: Names them, or leaves that to `band_of`.

    Raises:
        ConfigError: The model has no such MLPs, no layers of these numbers, or puts something
            between its MLPs and the residual stream.
    """
    found = _projections(base)
    count = int(base.model.config.get_text_config().num_hidden_layers)
    numbers = tuple(sorted(config.layers)) or band_of(count)
    if not numbers:
        raise ConfigError(f"{base.id} has {count} layers: memit edits one that others come behind")
    for number in numbers:
        if number > count - 2:
            raise ConfigError(
                f"layers: {base.id} has {count} layers, of which 0 to {count - 2} can be edited (no other "
                f"reads the last one), got {number}"
            )
        if number not in found:
            raise ConfigError(f"layers: layer {number} of {base.id} has no linear {_NAMES}: leave it out")
    layers = [found[number] for number in numbers]
    _try(base, layers[-1])
    return layers


def _projections(base: Base) -> dict[int, EditedLayer]:
    """Return the layers that can be edited, by number.

    Raises:
        ConfigError: There are none.
    """
    layers = {}
    for path, module in base.model.named_modules():
        match = _PROJECTION.fullmatch(path)
        if match and isinstance(module, nn.Linear):
            number = int(match["number"])
            layers[number] = EditedLayer(number, match["block"], path)
    if not layers:
        raise ConfigError(
            f"memit edits the last projection of MLPs, and {base.id} ({type(base.model).__name__}) has no "
            f"linear {_NAMES}: use another method"
        )
    return layers


@torch.no_grad()
def _try(base: Base, layer: EditedLayer) -> None:
    """Add something to what an MLP puts out, and look whether the layer puts out as much more.

    Raises:
        ConfigError: It does not.
    """
    ids_1T = torch.tensor([base.chat.prompt_ids("x")], device=base.model.device)
    place_1 = torch.tensor([ids_1T.shape[1] - 1])
    block, projection = (base.model.get_submodule(path) for path in (layer.block, layer.path))
    outputs: list[Tensor] = []
    refused = ConfigError(
        f"memit needs layers that add what their MLP puts out to the residual stream as it is; those of "
        f"{base.id} ({type(base.model).__name__}) do something else with it: use another method"
    )

    def see(_: Tensor, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise refused
        outputs.append(output[0, -1].float())

    with watched(block, see):
        base.model(input_ids=ids_1T, use_cache=False, logits_to_keep=1)
        noise_D = torch.linspace(-1, 1, len(outputs[0]), device=ids_1T.device)
        noise_D = noise_D * outputs[0].norm() / noise_D.norm()
        with added(projection, noise_D[None], place_1):
            base.model(input_ids=ids_1T, use_cache=False, logits_to_keep=1)
    off = float((outputs[1] - outputs[0] - noise_D).norm() / noise_D.norm())
    if not off <= _OFF.get(base.model.dtype, _HALF_OFF):
        raise refused


@contextmanager
def watched(module: nn.Module, see: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Show what goes into a module and what comes out of it, [B, T, I] and [B, T, O]."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        see(inputs[0], output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def added(module: nn.Module, vectors_BD: Tensor, places_B: Tensor) -> Iterator[None]:
    """Add a vector to what a module puts out, at one place of each row."""

    def hook(_: nn.Module, __: Any, output_BTD: Tensor) -> Tensor:
        rows_B = torch.arange(len(places_B), device=output_BTD.device)
        changed_BTD = output_BTD.clone()
        changed_BTD[rows_B, places_B.to(output_BTD.device)] += vectors_BD.to(output_BTD)
        return changed_BTD

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class _ReachedError(Exception):
    """The block that a pass was to reach has been computed."""


def run_to(model: nn.Module, block: nn.Module, ids_BT: Tensor) -> Tensor:
    """Return what a block puts out, [B, T, D]; what stands above it is not computed."""
    found: list[Tensor] = []

    def see(_: Tensor, output_BTD: Tensor) -> None:
        found.append(output_BTD)
        raise _ReachedError

    with watched(block, see), suppress(_ReachedError):
        model(input_ids=ids_BT, use_cache=False, logits_to_keep=1)
    return found[0]


@contextmanager
def standing_in(blocks: Sequence[nn.Module], hidden_BTD: Tensor) -> Iterator[None]:
    """Have the last of the first blocks of a model put this out, and those before it compute nothing."""
    modules: list[Any] = list(blocks)
    for module in modules[:-1]:
        module.forward = _passed_on
    modules[-1].forward = lambda *_, **__: hidden_BTD
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _passed_on(hidden_BTD: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_BTD


def blocks_to(model: nn.Module, layer: EditedLayer) -> list[nn.Module]:
    """Return the blocks of a model up to a layer, with that."""
    stack = layer.block.rpartition(".")[0]
    return [model.get_submodule(f"{stack}.{number}") for number in range(layer.number + 1)]


def padded(texts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> Tensor:
    """Return texts as rows, filled up on the right: nothing looks ahead, so that needs no mask."""
    rows = torch.full((len(texts), max(map(len, texts))), pad_id)
    for row, text in enumerate(texts):
        rows[row, : len(text)] = torch.tensor(list(text))
    return rows.to(device)


def batches_of(lengths: Sequence[int], *, most: int, tokens: int, alone: int | None) -> list[list[int]]:
    """Put texts together that are about as long, so that little is filled up.

    Args:
        lengths: Tokens of each.
        most: Texts of a batch.
        tokens: Tokens of a batch, filled up; one text always may.
        alone: Length above which a text must be by itself, see `longest_text`.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        length = lengths[place]
        batch = batches[-1] if batches else []
        too_long = alone is not None and length > alone
        if not batch or too_long or len(batch) == most or (len(batch) + 1) * length > tokens:
            batches.append([place])
        else:
            batch.append(place)
    return batches
