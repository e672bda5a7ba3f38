"""Which targets a step trains on, and how they are laid out."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixsd.models.load import Base
from mixsd.prompts import STYLES
from mixsd.supervision import Supervision
from mixsd.training.soft import Soft


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the text to train on behind it, as token ids.

    Attributes:
        weight: Of each of its tokens in the mean loss.
        soft: What the frozen model holds likely at each of them; without it the loss is their NLL.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float = 1.0
    soft: Soft | None = None


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

    Attributes:
        shared_1H: What all prompts begin with; it is read once, before the rest.
        ids_BT: The rest of each example.
        mask_BHT: Which columns of both hold tokens.
        positions_BT: Place of each token of the rest within its example.
        scored_BK: Marks, among the last K columns, the tokens whose loss counts.
        weights: Of the tokens of each example.
        softs: The soft targets of each example that has some.
    """

    shared_1H: Tensor
    ids_BT: Tensor
    mask_BHT: Tensor
    positions_BT: Tensor
    scored_BK: Tensor
    weights: tuple[float, ...]
    softs: tuple[Soft | None, ...]

    @property
    def scored(self) -> int:
        """Tokens whose loss counts."""
        return int(self.scored_BK.sum())


def lay_out(examples: Sequence[Example], *, pad_id: int, device: torch.device, shared: int = 0) -> Batch:
    """Put examples into one batch; `shared` tokens of their prompts are the same in all of them."""
    width = max(len(example.prompt) + len(example.target) for example in examples) - shared
    longest = max(len(example.target) for example in examples)
    ids, mask, scored = [], [], []
    for example in examples:
        tokens = [*example.prompt, *example.target][shared:]
        padding = width - len(tokens)
        ids.append([pad_id] * padding + tokens)
        mask.append([1] * shared + [0] * padding + [1] * len(tokens))
        scored.append([False] * (longest - len(example.target)) + [True] * len(example.target))
    mask_BHT = torch.tensor(mask, device=device)
    return Batch(
        shared_1H=torch.tensor([examples[0].prompt[:shared]], dtype=torch.long, device=device),
        ids_BT=torch.tensor(ids, device=device),
        mask_BHT=mask_BHT,
        positions_BT=(mask_BHT.cumsum(-1) - 1).clamp(min=0)[:, shared:],
        scored_BK=torch.tensor(scored, device=device),
        weights=tuple(example.weight for example in examples),
        softs=tuple(example.soft for example in examples),
    )
