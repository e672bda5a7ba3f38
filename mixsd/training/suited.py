"""Find the fastest way of training a model that gives the gradient of the plain one.

As for decoding, what a model needs cannot be read off its configuration with certainty, so the fast
ways are tried on a few texts of the first batch and compared with the plain one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

import torch
from peft import PeftModel
from torch import Tensor, nn

from mixsd.errors import OutOfMemoryError, ProcessLostError, UnsuitedModelError
from mixsd.training import memory
from mixsd.training.batches import Example
from mixsd.training.merged import MergedLayers, bytes_of, mergeable_layers
from mixsd.training.sharded import Shards
from mixsd.training.step import Gradients, gradient_of
from mixsd.training.ways import PlainWay, TreeWay, Way

_TOLERANCE: Final = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Largest distance to the plain gradient, in lengths of that. Many norms are float32 in any case."""
_HALF_TOLERANCE: Final = 0.25
_LAYERS: Final = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a model is trained, and what a token of it keeps for the backward pass."""

    way: Way
    merged: MergedLayers | None
    needs: memory.Needs


def choose(
    model: PeftModel,
    batch: Sequence[Example],
    *,
    pad_id: int,
    autocast: torch.dtype | None,
    merge: bool,
    notice: Callable[[str], None],
    shards: Shards | None = None,
    most: int = 0,
) -> Chosen:
    """Return how to train a model, after a trial on a few texts of its first batch.

    Args:
        model: The model with the adapter, in the mode of training.
        batch: The first examples.
        pad_id: What rows are filled up with.
        autocast: What is computed in, instead of the type of the weights.
        merge: Whether layers may be merged that can be.
        notice: Told why a fast way was not taken, a sentence each.
        shards: Of the model, where it is sharded: the processes make the same trials, and agree.
        most: Examples of a piece of the trials; 0 for any number.

    Raises:
        OutOfMemoryError: Not even one text fits into memory. Of a sharded model: the trials do not.
    """
    trial = _Trial(model, _few(batch), autocast, shards, most)
    plain = PlainWay(model, pad_id=pad_id)
    mergeable = merge and autocast is None and mergeable_layers(model)
    merged = MergedLayers(model) if mergeable else None
    if has_dropout(model):
        notice("texts are computed in rows, each with all its tokens: with dropout nothing may be shared")
        return trial.chosen(plain, merged)
    wanted = trial.gradient(plain, None)
    if trial.any_process(said=not wanted.isfinite().all()):
        return trial.chosen(plain, None)  # nothing equals it, and the first step will say so
    for way in (TreeWay(model), plain):
        objection = trial.objection(way, merged, wanted)
        if trial.any_process(said=objection is not None) and objection is None:
            objection = "another process found that it is not exact there"
        if objection is None:
            return trial.chosen(way, merged)
        notice(f"training takes a slower way: {objection}")
    return trial.chosen(plain, None)


def has_dropout(model: nn.Module) -> bool:
    """Say whether anything is dropped at random while a model is trained."""
    config = model.config.get_text_config()  # type: ignore[operator,union-attr]
    dropped = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
    return dropped or bool(getattr(config, "attention_dropout", 0))


def _few(batch: Sequence[Example]) -> list[Example]:
    """Return texts of unlike length, of which two begin alike: no way passes for want of company.

    In place of their targets stands what no model has learned: a loss near zero would leave
    nothing to compare but rounding.
    """
    ordered = sorted(batch, key=lambda example: len(example.read))
    further = [ordered[place] for place in sorted({0, len(ordered) // 2, len(ordered) - 1})]
    texts = [(ordered[0].prompt * 2, len(ordered[0].target)), *((e.prompt, len(e.target)) for e in further)]
    return [Example(prompt, tuple(islice(cycle(prompt[::-1]), count))) for prompt, count in texts]


def room_to_merge(model: PeftModel) -> bool:
    """Say whether there is memory for merged weights, and as much again."""
    free = memory.free_bytes(model.device)
    return free is None or 2 * bytes_of(mergeable_layers(model)) <= free


class _Trial:
    """A few texts, computed this way and that."""

    def __init__(
        self,
        model: PeftModel,
        examples: list[Example],
        autocast: torch.dtype | None,
        shards: Shards | None,
        most: int,
    ) -> None:
        self._model = model
        self._examples = examples
        self._autocast = autocast
        self._shards = shards
        self._most = most
        self._parameters = [each for each in model.parameters() if each.requires_grad]

    def any_process(self, *, said: bool) -> bool:
        """Say whether any of the processes that make this trial says so."""
        return said if self._shards is None else self._shards.most(int(said)) > 0

    def gradient(self, way: Way, merged: MergedLayers | None) -> Tensor:
        """Return loss and gradient. If memory runs out the longest text is left out from then on."""
        while True:
            try:
                return gradient_of(self._gradients(way, merged), self._examples, self._parameters)
            except OutOfMemoryError:
                if len(self._examples) == 1 or self._shards is not None:
                    raise
            self._examples.pop()

    def _gradients(self, way: Way, merged: MergedLayers | None) -> Gradients:
        return Gradients(
            self._model, way, merged=merged, autocast=self._autocast, most=self._most, shards=self._shards
        )

    def objection(self, way: Way, merged: MergedLayers | None, wanted: Tensor) -> str | None:
        """Return why a way will not do, None if it will."""
        kinds = set(getattr(self._model.config.get_text_config(), "layer_types", None) or ())
        try:
            if way.name == "tree" and not kinds <= _LAYERS:
                return f"it has layers of kind {', '.join(sorted(kinds - _LAYERS))}"
            found = self.gradient(way, merged)
        except (torch.OutOfMemoryError, OutOfMemoryError, ProcessLostError):
            raise
        except Exception as error:  # noqa: BLE001  whatever a foreign model may raise: it does not fit
            if self._shards is not None:
                self._shards.forget_pass()
            if isinstance(error, UnsuitedModelError):
                return str(error)
            return f"it failed with {type(error).__name__}: {error}"
        limit = _HALF_TOLERANCE if self._autocast else _TOLERANCE.get(self._model.dtype, _HALF_TOLERANCE)
        off = max(_distance(found[:1], wanted[:1]), _distance(found[1:], wanted[1:]))
        return (
            None if off <= limit else f"with a {way.name} the gradient is another, by {off:.3g} of its length"
        )

    def chosen(self, way: Way, merged: MergedLayers | None) -> Chosen:
        """Measure what a token keeps, by a single text."""
        there = self._parameters if self._shards is not None else self._model.parameters()
        besides = [*there, *(merged.buffers if merged else ())]
        gradients = self._gradients(way, merged)
        with memory.counted(besides) as kept:
            gradient_of(gradients, self._examples[:1], self._parameters)
        tokens = way.size(self._examples[:1])
        return Chosen(way, merged, memory.needs_of(self._model, sum(kept.values()), tokens))


def _distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm() / second.norm().clamp(min=1e-30))
