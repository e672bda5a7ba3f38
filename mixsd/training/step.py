"""The gradient of a batch: cut into pieces that fit into memory, summed over them."""

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Final

import torch
from peft import PeftModel
from torch import Tensor

from mixsd.errors import OutOfMemoryError
from mixsd.training.batches import Example, pieces_of, weight_of
from mixsd.training.memory import Room, checkpointed_layers, layers_twice, ran_out
from mixsd.training.merged import MergedLayers
from mixsd.training.sharded import Shards
from mixsd.training.ways import Way
from mixsd.training.world import is_lost, lost

_ANY: Final = Room()

_IDLE: Final = Example((0,), (0,), weight=0.0)
"""What a process computes where others have more to do, and it has to gather layers with them."""

_NOT_ALONE: Final = (
    "memory ran out while the model is sharded, where no process can go on with less by itself: set "
    "micro_batch to fewer texts than were computed at once, leave out the longest texts, or take more "
    "processes"
)


class Gradients:
    """Gradients of batches, by one way of computing a model.

    Attributes:
        room: What is computed at once. Made smaller when memory runs out.
    """

    def __init__(
        self,
        model: PeftModel,
        way: Way,
        *,
        merged: MergedLayers | None,
        autocast: torch.dtype | None,
        room: Room = _ANY,
        most: int = 0,
        notice: Callable[[str], None] = lambda _: None,
        shards: Shards | None = None,
    ) -> None:
        """Set what does not change from step to step.

        Args:
            model: The model with the adapter.
            way: How its loss is computed.
            merged: Its merged layers, if they are to be used.
            autocast: What is computed in, instead of the type of the weights.
            room: What is computed at once.
            most: Examples of a piece; 0 for as many as there is room for.
            notice: Told when memory ran out.
            shards: Of the model, where it is sharded. Then all processes must call for gradients
                alike, also one that has no examples.
        """
        self._model = model
        self._way = way
        self._merged = merged
        self._autocast = autocast
        self.room = room
        self._most = most
        self._notice = notice
        self._shards = shards

    def add(self, examples: Sequence[Example], total: float) -> Tensor:
        """Add the gradient of the loss of examples, divided by `total`, to the parameters'.

        If memory runs out, it is begun again in smaller pieces: parameters must have no gradient
        before. Returns that loss, without gradient.

        Raises:
            OutOfMemoryError: Not even one example fits into memory. Of a sharded model: it ran out,
                and cannot be begun again in this process alone.
            ProcessLostError: Another process of a sharded model is gone.
        """
        ordered = sorted(examples, key=self._way.order)
        while True:
            try:
                return self._summed(ordered, total)
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                if self._shards is not None and is_lost(error):
                    raise lost(error) from error
                if not ran_out(error):
                    raise
                if self._shards is not None:
                    raise OutOfMemoryError(_NOT_ALONE) from error
            # Out here nothing holds on to the frames of the failed pass, and so to its tensors.
            self._model.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._shrink(ordered)

    def _summed(self, ordered: Sequence[Example], total: float) -> Tensor:
        summed: Tensor | None = None
        pieces = self._pieces(ordered) if ordered else []
        if self._shards is not None:
            pieces += [[_IDLE]] * (self._shards.most(len(pieces)) - len(pieces))
        with self._running():
            for piece in pieces:
                with self._precision():
                    loss = self._way.loss(piece) / total
                loss.backward()  # type: ignore[no-untyped-call]
                if self._shards is not None:
                    self._shards.wait()
                summed = loss.detach() if summed is None else summed + loss.detach()
        if summed is None:
            raise ValueError("a step without examples")
        return summed

    @contextmanager
    def _running(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self._merged is not None:
                stack.enter_context(self._merged.running())
            if self.room.twice:
                stack.enter_context(layers_twice(self._model))
            stack.enter_context(self._way.running())
            yield

    def _precision(self) -> torch.autocast | nullcontext[None]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._model.device.type, self._autocast)

    def _pieces(self, ordered: Sequence[Example]) -> list[Sequence[Example]]:
        """Cut examples so that each piece fits, and none is in a text's way that is too long."""
        room, longest = self.room.tokens or math.inf, self._way.longest or math.inf

        def fits(piece: Sequence[Example]) -> bool:
            long = any(len(example.read) > longest for example in piece)
            return not long and self._way.size(piece) <= room

        return pieces_of(ordered, self._most, fits)

    def _shrink(self, ordered: Sequence[Example]) -> None:
        """Compute less at once than just now, and say so."""
        pieces = self._pieces(ordered)
        examples, tokens = max(map(len, pieces)), max(map(self._way.size, pieces))
        if examples > 1:
            while max(map(len, self._pieces(ordered))) == examples:
                self.room = Room(max(1, min(self.room.tokens or tokens, tokens) // 2), self.room.twice)
            now = max(map(len, self._pieces(ordered)))
            self._notice(
                f"memory ran out: {now} texts are computed at once instead of {examples}, "
                "the batch is the same"
            )
        elif not self.room.twice and checkpointed_layers(self._model):
            self.room = Room(self.room.tokens, twice=True)
            self._notice(
                "memory ran out with one text at once: layers are now computed twice, which is slower"
            )
        else:
            raise OutOfMemoryError(
                f"a text of {tokens} tokens does not fit into memory, not even alone: leave out the longest "
                "texts, choose a smaller model or a device with more memory"
            )


def gradient_of(gradients: Gradients, examples: Sequence[Example], parameters: Sequence[Tensor]) -> Tensor:
    """Return loss and gradient of examples in one vector, and leave the parameters without gradient."""
    loss = gradients.add(examples, weight_of(examples))
    parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    for parameter in parameters:
        parameter.grad = None
    return torch.cat([loss.reshape(1), *(part.flatten().to(loss.dtype) for part in parts)])
