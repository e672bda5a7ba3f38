"""Which targets a step trains on, and how they are laid out."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixsd.models.load import Base
from mixsd.prompts import STYLES
from mixsd.supervision import Supervision


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the text to train on behind it, as token ids."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


def examples_of(base: Base, records: Sequence[Supervision], *, prompt_style: str) -> list[Example]:
    """Return what is trained on: the naive prompt, and the stored ids as they were sampled."""
    style = STYLES[prompt_style]
    return [
        Example(tuple(base.chat.prompt_ids(style.naive_prompt(record.question))), record.token_ids)
        for record in records
        if record.trainable
    ]


def order_of(count: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order of the examples in an epoch: a function of seed and epoch alone."""
    order = list(range(count))
    random.Random(f"order {seed} {epoch}").shuffle(order)  # noqa: S311  an order, not a secret
    return order


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples side by side, padded on the left, so that all targets end in the last column.

    `scored_BK` marks, among the last K columns, the tokens whose loss counts.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    positions_BT: Tensor
    scored_BK: Tensor

    @property
    def scored(self) -> int:
        """Tokens whose loss counts."""
        return int(self.scored_BK.sum())


def lay_out(examples: Sequence[Example], *, pad_id: int, device: torch.device) -> Batch:
    """Put examples into one batch."""
    width = max(len(example.prompt) + len(example.target) for example in examples)
    longest = max(len(example.target) for example in examples)
    ids, mask, scored = [], [], []
    for example in examples:
        tokens = [*example.prompt, *example.target]
        ids.append([pad_id] * (width - len(tokens)) + tokens)
        mask.append([0] * (width - len(tokens)) + [1] * len(tokens))
        scored.append([False] * (longest - len(example.target)) + [True] * len(example.target))
    mask_BT = torch.tensor(mask, device=device)
    return Batch(
        ids_BT=torch.tensor(ids, device=device),
        mask_BT=mask_BT,
        positions_BT=(mask_BT.cumsum(-1) - 1).clamp(min=0),
        scored_BK=torch.tensor(scored, device=device),
    )
