"""How the loss of examples is computed with gradients: the fast way, and the plain one it must equal."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from mixsd.decoding.rows import LanguageModel, base_of
from mixsd.decoding.store import device_of
from mixsd.decoding.suited import longest_text
from mixsd.training.attention import KEYWORD, in_trees, layout_of
from mixsd.training.batches import Example
from mixsd.training.loss import head_loss, judged_by
from mixsd.training.tree import grow, size_of


class Way(Protocol):
    """A way of computing the loss of examples."""

    @property
    def name(self) -> str:
        """`tree` or `rows`."""

    @property
    def longest(self) -> int | None:
        """Most tokens of a text that does not change how others beside it are scored; None for any."""

    def running(self) -> AbstractContextManager[None]:
        """Prepare the model for passes forward and backward within the block."""

    def order(self, example: Example) -> Any:
        """Return what to sort examples by, so that neighbours are cheap to compute together."""

    def size(self, examples: Sequence[Example]) -> int:
        """Return how many tokens a pass over examples computes."""

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """Return the summed loss of all target tokens, each with its weight, in nats."""


class TreeWay:
    """All examples on one flat row; what several begin with is computed once. Needs dropout 0."""

    name: Final = "tree"

    def __init__(self, model: LanguageModel, *, most_shared: int | None = None) -> None:
        """Prepare for a model. Of each text, `most_shared` tokens at most are shared with others."""
        self._base = base_of(model)
        self._body: nn.Module = getattr(self._base, self._base.base_model_prefix)
        self._head: nn.Module = self._base.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._device = device_of(self._base)
        self._most = most_shared
        self.longest = longest_text(self._base)

    def running(self) -> AbstractContextManager[None]:
        return in_trees(self._base)

    def order(self, example: Example) -> Any:
        return example.read

    def size(self, examples: Sequence[Example]) -> int:
        return size_of([example.read for example in examples], most=self._most)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        tree = grow([example.read for example in examples], most=self._most)
        hidden_1ND = self._body(
            input_ids=torch.tensor([tree.ids], device=self._device),
            position_ids=torch.tensor([tree.positions], device=self._device),
            use_cache=False,
            **{KEYWORD: layout_of(tree, self._device)},
        ).last_hidden_state
        paths = [[path[place] for place in e.judges] for e, path in zip(examples, tree.paths, strict=True)]
        judged = judged_by(examples, paths)
        return head_loss(self._head, hidden_1ND[0, judged.places_J.to(self._device)], judged)


class PlainWay:
    """A row for each example, padded on the right, through the model's own forward pass."""

    name: Final = "rows"

    def __init__(self, model: LanguageModel, *, pad_id: int) -> None:
        self._base = base_of(model)
        self._device = device_of(self._base)
        self._pad_id = pad_id
        self.longest = longest_text(self._base)

    def running(self) -> AbstractContextManager[None]:
        return nullcontext()

    def order(self, example: Example) -> Any:
        return len(example.read), example.read

    def size(self, examples: Sequence[Example]) -> int:
        return len(examples) * max(len(example.read) for example in examples)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        width = max(len(example.read) for example in examples)
        ids_BT = torch.full((len(examples), width), self._pad_id)
        for row, example in enumerate(examples):
            ids_BT[row, : len(example.read)] = torch.tensor(example.read)
        judged = judged_by(
            examples, [[row * width + place for place in e.judges] for row, e in enumerate(examples)]
        )
        kept_BT = torch.zeros(ids_BT.numel(), dtype=torch.bool)
        kept_BT[judged.places_J] = True
        # Nothing looks ahead, so padding behind a text needs no mask.
        logits_JV = self._base(
            input_ids=ids_BT.to(self._device),
            use_cache=False,
            logits_to_keep=kept_BT.view_as(ids_BT).to(self._device),
        ).logits
        return judged.loss(logits_JV)
