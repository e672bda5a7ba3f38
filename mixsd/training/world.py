"""Several processes that train one adapter, each on its share of every batch.

The processes are started by others, `mixsd.training.launch` or `torchrun`, with a process group of
their own and a copy of the model each. Gradients are summed over all of them, so each takes the same steps.
The first process alone tells the caller of progress, asks what was learned and saves checkpoints.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from mixsd.errors import ProcessLostError
from mixsd.progress import StopRequested

Item = TypeVar("Item")


class World:
    """The processes of a run; without a process group this one alone."""

    def __init__(self) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.size: int = distributed.get_world_size() if together else 1
        self.rank: int = distributed.get_rank() if together else 0

    @property
    def device(self) -> torch.device:
        """What this process computes on by its process group: its GPU where that is for GPUs."""
        if self.size > 1 and "nccl" in distributed.get_backend_config():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.rank == 0

    def share_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of a batch. It may be empty."""
        count = len(items)
        return items[count * self.rank // self.size : count * (self.rank + 1) // self.size]

    def total(self, value: float) -> float:
        """Return the sum of a number over all processes.

        Raises:
            ProcessLostError: One of them is gone. So do the others that speak to all processes.
        """
        return self.totals(value)[0]

    def totals(self, *values: float) -> tuple[float, ...]:
        """Return the sums of several numbers at the price of one."""
        if self.size == 1:
            return values
        return tuple(self._summed(torch.tensor(values, dtype=torch.float64)).tolist())

    def most(self, value: int) -> int:
        """Return the largest of the numbers that the processes have."""
        if self.size == 1:
            return value
        largest = torch.tensor([value], dtype=torch.int64)
        return int(self._reduced(largest, distributed.ReduceOp.MAX)[0])

    def every(self, items: Sequence[Item]) -> list[Item]:
        """Return what all processes have, that of the first at the beginning. Nothing on a GPU."""
        if self.size == 1:
            return list(items)
        parts: list[Any] = [None] * self.size
        with _named():
            distributed.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def made_by_first(self, make: Callable[[], Sequence[Item]]) -> list[Item]:
        """Have the first process make something for all. Nothing on a GPU.

        Raises:
            StopRequested: As from `ask_first`.
        """
        made: list[Item] = []

        def ask() -> float:
            made.extend(make())
            return 0.0

        self.ask_first(ask)
        return self.every(made)

    def take_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""
        if self.size == 1:
            return
        for tensor in tensors:
            values = tensor.detach() if self.first else torch.zeros_like(tensor)
            tensor.data = self._summed(values.clone())

    def add_gradients(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Sum the gradients of all processes into each one's parameters; return the summed loss."""
        if self.size == 1:
            return loss
        parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flat = torch.cat([*(part.flatten() for part in parts), loss.reshape(1).to(parts[0])])
        if flat.is_cuda and distributed.get_backend() != "nccl":
            # A number goes by way of gloo, which notices a process that died. nccl would wait for it.
            self.total(0.0)
        flat = self._summed(flat)
        start = 0
        for parameter in parameters:
            parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        return flat[-1]

    def ask_first(self, question: Callable[[], float]) -> float:
        """Have the first process answer for all.

        Raises:
            StopRequested: Its answer was to stop; in the first process as it was raised there.
        """
        if self.size == 1:
            return question()
        stop: StopRequested | None = None
        answer = [0.0, 0.0]
        if self.first:
            try:
                answer = [question(), 0.0]
            except StopRequested as request:
                stop, answer = request, [0.0, 1.0]
        value, stopped = self._summed(torch.tensor(answer, dtype=torch.float64)).tolist()
        if stop is not None:
            raise stop
        if stopped:
            raise StopRequested
        return float(value)

    def _summed(self, values: Tensor) -> Tensor:
        return self._reduced(values, distributed.ReduceOp.SUM)

    def _reduced(self, values: Tensor, how: Any) -> Tensor:
        if distributed.get_backend() == "nccl":
            values = values.cuda()
        with _named():
            distributed.all_reduce(values, op=how)
        return values


def is_lost(error: BaseException) -> bool:
    """Say whether an error means that another process is gone. gloo has no kind of its own for that."""
    return isinstance(error, RuntimeError) and (
        isinstance(error, distributed.DistError) or "gloo" in str(error)
    )


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise lost(error) from error


def lost(error: BaseException) -> ProcessLostError:
    """Return what to raise in place of an error of a process group."""
    return ProcessLostError(f"another process of the run is gone or does not answer: {error}")
