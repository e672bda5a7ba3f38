"""A base model with an adapter added to its weights, written as `from_pretrained` reads it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from mixsd.exports.reading import Reading, Text, read
from mixsd.models.load import Base, stored_dtype
from mixsd.packaging import TOKENIZER

SHARD: Final = "5GB"
"""Largest file of weights."""
_GENERATION: Final = "generation_config.json"


def merge_into(base: Base, model: PeftModel, target: Path) -> torch.dtype:
    """Write the model with its adapter merged, in the type of the base model's own files; return the type.

    The sum is made in the type in which the base model was loaded, and rounded once. The adapter is
    merged afterwards: neither model nor base can be used for anything else.

    Args:
        base: The base model that the adapter is on.
        target: An empty folder.
    """
    dtype = stored_dtype(base.folder)
    whole: Any = model.merge_and_unload()
    whole.to(dtype)
    whole.save_pretrained(target, max_shard_size=SHARD)
    for name in (*TOKENIZER, _GENERATION):
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, target / name)
    return dtype


def read_rounded(base: Base, model: PeftModel, texts: Sequence[Text], on_step: Callable[[], None]) -> Reading:
    """Read with the base model after the adapter was added in the type of the export and taken off again.

    What is left is what the rounding of the sum does. The base model is then as it was.
    """
    dtype = stored_dtype(base.folder)
    with _restored(model) as weights:
        model.merge_adapter()
        with torch.no_grad():
            for weight in weights:
                weight.copy_(weight.to(dtype))
        model.unmerge_adapter()
        with model.disable_adapter():
            return read(model, texts, on_step=on_step)


@contextmanager
def _restored(model: PeftModel) -> Iterator[list[Tensor]]:
    """Give the weights of the adapted layers, and put them back afterwards."""
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    weights: list[Tensor] = [layer.get_base_layer().weight for layer in layers]
    before = [weight.detach().to("cpu", copy=True) for weight in weights]
    try:
        yield weights
    finally:
        with torch.no_grad():
            for weight, kept in zip(weights, before, strict=True):
                weight.copy_(kept)
