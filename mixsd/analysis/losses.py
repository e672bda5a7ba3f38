"""What each token of a target costs the base model that is asked the bare question.

Axes: B texts side by side, T tokens of the longest, J places that judge a token, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Final, TypeVar

import torch

from mixsd.analysis.errors import NotAnalysableError
from mixsd.decoding.rows import wide
from mixsd.decoding.suited import longest_text
from mixsd.editing.layers import batches_of, padded
from mixsd.models.load import Base
from mixsd.training.batches import Example

_SORTED: Final = 256
"""Texts that are read ahead, so that those of about one length go side by side."""
_TOGETHER: Final = 32
_SCORES: Final = 1 << 25
"""Scores over the vocabulary, at most, that a batch makes."""

Item = TypeVar("Item")
Named = TypeVar("Named")


def token_nats(
    base: Base,
    examples: Iterable[tuple[Named, Example]],
    *,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[Named, list[float]]]:
    """Yield the loss of each token of each target behind its prompt, in nats, in the order given.

    Memory is bounded by the number of texts that are read ahead, not by that of all.

    Args:
        base: The base model, without an adapter on it.
        examples: Each with whatever names it.
        on_batch: Called before every forward pass with the number of texts done. May raise to stop.

    Raises:
        NotAnalysableError: A token is impossible under the model, or its scores are no numbers.
    """
    done = 0
    for ahead in _groups(examples, _SORTED):
        told: dict[int, list[float]] = {}
        lengths = [len(example.read) for _, example in ahead]
        tokens = max(1, _SCORES // _vocabulary(base))
        for places in batches_of(lengths, most=_TOGETHER, tokens=tokens, alone=longest_text(base.model)):
            on_batch(done + len(told))
            losses = _losses(base, [ahead[place][1] for place in places])
            if not all(math.isfinite(loss) for text in losses for loss in text):
                raise NotAnalysableError(f"{base.id} gives a token of a text no finite loss: it has no nats")
            told.update(zip(places, losses, strict=True))
        for place, (name, _) in enumerate(ahead):
            yield name, told[place]
        done += len(ahead)


@torch.inference_mode()
def _losses(base: Base, examples: Sequence[Example]) -> list[list[float]]:
    """Return the losses of a batch. Nothing looks ahead, so padding behind a text needs no mask."""
    device = base.model.device
    ids_BT = padded([example.read for example in examples], base.chat.pad_id, device)
    judging_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        judging_BT[row, list(example.judges)] = True
    logits_JV = base.model(
        input_ids=ids_BT, use_cache=False, logits_to_keep=judging_BT.to(device)
    ).logits.flatten(0, -2)
    targets_J = torch.tensor([token for example in examples for token in example.target], device=device)
    losses = torch.nn.functional.cross_entropy(wide(logits_JV), targets_J, reduction="none").tolist()
    ends = [0]
    for example in examples:
        ends.append(ends[-1] + len(example.target))
    return [losses[start:end] for start, end in pairwise(ends)]


def _groups(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    waiting = iter(items)
    while group := tuple(islice(waiting, size)):
        yield group


def _vocabulary(base: Base) -> int:
    return int(base.model.config.get_text_config().vocab_size)
