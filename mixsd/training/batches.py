"""Which targets a step trains on, and in which pieces they are computed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mixsd.models.load import Base
from mixsd.prompts import STYLES
from mixsd.supervision import Supervision
from mixsd.training.soft import Soft


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the text to train on behind it, as token ids; at least one of each.

    Attributes:
        weight: Of each of its target tokens in the mean loss.
        soft: What the frozen model holds likely at each of them; without it the loss is their NLL.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    weight: float = 1.0
    soft: Soft | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("an example needs a prompt: its last token judges the first of the target")
        if self.soft is not None and len(self.soft.ids_TK) != len(self.target):
            raise ValueError(
                f"soft targets for {len(self.soft.ids_TK)} places of a target of {len(self.target)} tokens"
            )

    @property
    def read(self) -> tuple[int, ...]:
        """What the model must read to score the target: all but its last token."""
        return (*self.prompt, *self.target[:-1])

    def on_cpu(self) -> "Example":
        """Return the same with nothing on a GPU, as it may go to another process."""
        soft = self.soft
        if soft is None:
            return self
        moved = replace(soft, ids_TK=soft.ids_TK.cpu(), logprobs_TK=soft.logprobs_TK.cpu())
        return replace(self, soft=moved)

    @property
    def judges(self) -> range:
        """Places, within what is read, whose scores judge the target."""
        return range(len(self.prompt) - 1, len(self.prompt) + len(self.target) - 1)


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


def weight_of(examples: Sequence[Example]) -> float:
    """Return what the summed loss is divided by: the target tokens, each with its weight."""
    return sum(example.weight * len(example.target) for example in examples)


def pieces_of(
    examples: Sequence[Example], most: int, fits: Callable[[Sequence[Example]], bool]
) -> list[Sequence[Example]]:
    """Cut a batch into pieces that lie together.

    Args:
        examples: In an order in which neighbours are alike.
        most: Examples of a piece; 0 for any number.
        fits: Whether a piece may be computed at once. One example always may.
    """
    most = most or len(examples)
    parts = [examples[start : start + most] for start in range(0, len(examples), most)]
    return [piece for part in parts for piece in _halved(part, fits)]


def _halved(
    examples: Sequence[Example], fits: Callable[[Sequence[Example]], bool]
) -> list[Sequence[Example]]:
    if len(examples) == 1 or fits(examples):
        return [examples]
    middle = len(examples) // 2
    return [*_halved(examples[:middle], fits), *_halved(examples[middle:], fits)]
