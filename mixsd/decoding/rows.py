"""What every way of running a model offers to the engine: rows that are fed and scored.

Here too: the scores of one sequence alone, which everything else is measured by. Knows nothing of
facts, prompts or tokenization.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

LanguageModel: TypeAlias = PreTrainedModel | PeftModel
"""A base model, alone or with an adapter on it: they are asked in the same way."""


def base_of(model: LanguageModel) -> PreTrainedModel:
    """Return the model of transformers, with the layers of an adapter in it if there is one."""
    base: PreTrainedModel = model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[assignment]
    return base


@dataclass(frozen=True, slots=True)
class Want:
    """What a row is to hold: all its tokens, of which the first may be there already."""

    row: int
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Fed:
    """Tokens of a row that a forward pass computed: positions `start` to `stop` - 1."""

    row: int
    start: int
    stop: int


class Rows(Protocol):
    """Texts under way in one model.

    Attributes:
        contents: For each row, the tokens that have been fed.
        copied: Positions copied from one row to another, where they were computed before.
    """

    contents: list[list[int]]
    copied: int

    def seat(self, row: int, tokens: Sequence[int]) -> None:
        """Prepare a row for these tokens: keep what it shares with them, copy what others do."""

    def trim(self, row: int, length: int) -> None:
        """Forget what stands behind the first `length` tokens of a row."""

    def feed(self, wants: Sequence[Want], *, budget: int, chunk: int) -> list[Fed]:
        """Bring rows towards what they are to hold, in one forward pass or none.

        Args:
            wants: Each begins with the contents of its row.
            budget: About how many tokens are computed at most, though at least one row is fed.
            chunk: Tokens of a row that are computed at most.

        Returns:
            What was computed. A token that several rows share is computed, and told, once.
        """

    def scores(self, places: Sequence[tuple[int, int]]) -> Tensor:
        """Return the scores of the token behind each (row, position) that was fed, [J, V]."""


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two lists, or two tuples, begin with alike."""
    low, high = 0, min(len(first), len(second))
    if first[:high] == second[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def wide(logits: Tensor) -> Tensor:
    """Return scores in float32, or float64 where they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


@torch.inference_mode()
def logits_alone(model: LanguageModel, tokens: Sequence[int], *, last: int = 1) -> Tensor:
    """Return the scores behind each of the `last` tokens of one sequence, [last, V].

    One row, no cache, no padding: the reference that everything else is measured by.
    """
    ids_1T = torch.tensor([list(tokens)], device=model.device)
    logits_1TV = model(input_ids=ids_1T, use_cache=False, logits_to_keep=last).logits
    return wide(logits_1TV[0])
