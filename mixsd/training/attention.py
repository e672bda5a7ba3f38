"""Attention for texts that lie as a tree on one flat row, with gradients.

As in `mixsd.decoding.attention` the transformer runs on a single row [1, N] without padding, and
this function, called by transformers in place of its own, alone knows which token belongs to which
text. Here nothing is kept between passes: keys and values of what texts share are computed once and
gathered for each of them, so their gradient is the sum over all texts, as if each had its own.

Axes: N tokens of the flat row, R spans of a group, Q tokens of a span, S key positions, H query
heads, K key-value heads, G = H / K, D width of a head, E width of all heads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from mixsd.decoding.attention import mask_of
from mixsd.errors import UnsuitedModelError
from mixsd.training.tree import Span, Tree

NAME: Final = "mixsd_tree"
KEYWORD: Final = "mixsd_layout"
"""What the layout is called on its way through the layers of a model."""

_WASTE: Final = 1.25
_SMALL: Final = 1 << 16
"""Spans share a group while padding makes its work no larger than `_WASTE` times theirs plus this."""


@dataclass(slots=True)
class Group:
    """Spans of like length, padded to the same number of queries and keys within attention only.

    Attributes:
        queries_RQ: Where in the flat row each query stands; padding repeats the last.
        keys_RS: Where each key stands; padding repeats the last, and no query sees it.
        positions_RQ: Position of each query in its text.
    """

    queries_RQ: Tensor
    keys_RS: Tensor
    positions_RQ: Tensor
    masks: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, heads: int, dtype: torch.dtype) -> Tensor:
        """Return 0 where a query may look and -inf where not, [R, 1, G * Q, S]."""
        length = self.keys_RS.shape[1]
        if window is not None and length <= window:
            window = None
        key = (window, heads)
        if key not in self.masks:
            self.masks[key] = mask_of(self.positions_RQ, length, window, heads, dtype)
        return self.masks[key]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a flat row attends.

    Attributes:
        groups: All of its tokens, by span.
        places_N: Where each token stands among the queries of all groups, padding included.
    """

    groups: Sequence[Group]
    places_N: Tensor


@contextmanager
def in_trees(model: PreTrainedModel) -> Iterator[None]:
    """Have a model attend by the layout that it is given, while the block runs.

    Backward passes belong into the block too: they may compute layers again.
    """
    before = model.config._attn_implementation  # noqa: SLF001  there is no public one that is cheap
    model.config._attn_implementation = NAME  # noqa: SLF001
    try:
        yield
    finally:
        model.config._attn_implementation = before  # noqa: SLF001


def attend(
    module: torch.nn.Module,
    query_1HND: Tensor,
    key_1KND: Tensor,
    value_1KND: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    mixsd_layout: Layout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend by spans. Called by the attention layers of a model within `in_trees`.

    Returns:
        [1, N, H, D], and no weights.

    Raises:
        UnsuitedModelError: The layer asks for something that is not done here.
    """
    for name in ("softcap", "s_aux"):
        if others.get(name) is not None:
            raise UnsuitedModelError(f"its attention has {name}")
    if dropout:
        raise UnsuitedModelError("its attention has dropout")
    if mixsd_layout is None or attention_mask is not None:
        raise UnsuitedModelError("its attention is called with a mask of its own")
    query_NE, key_NE, value_NE = (_flat(heads) for heads in (query_1HND, key_1KND, value_1KND))
    kv_heads = key_1KND.shape[1]
    seen = [
        _attend(group, query_NE, key_NE, value_NE, kv_heads, scaling=scaling, window=sliding_window)
        for group in mixsd_layout.groups
    ]
    output_NE = embedding(mixsd_layout.places_N, torch.cat(seen))
    return output_NE.view(1, len(output_NE), query_1HND.shape[1], -1), None


def _flat(heads_1HND: Tensor) -> Tensor:
    """Lay the heads of a token side by side, [N, E]."""
    return heads_1HND[0].transpose(0, 1).flatten(1)


def _attend(
    group: Group,
    query_NE: Tensor,
    key_NE: Tensor,
    value_NE: Tensor,
    kv_heads: int,
    *,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Return what the queries of a group see, padding included, [R * Q, E].

    Gathering is `embedding`, whose gradient is the fastest of the ways to gather.
    """
    rows, width = group.queries_RQ.shape
    length = group.keys_RS.shape[1]
    keys_RKSD = embedding(group.keys_RS, key_NE).view(rows, length, kv_heads, -1).transpose(1, 2)
    values_RKSD = embedding(group.keys_RS, value_NE).view(rows, length, kv_heads, -1).transpose(1, 2)
    heads = query_NE.shape[1] // (kv_heads * keys_RKSD.shape[-1])
    query = embedding(group.queries_RQ, query_NE).view(rows, width, kv_heads, heads, -1)
    output = scaled_dot_product_attention(
        query.permute(0, 2, 3, 1, 4).reshape(rows, kv_heads, heads * width, -1),
        keys_RKSD,
        values_RKSD,
        attn_mask=group.mask(window, heads, query.dtype),
        scale=scaling,
    )
    output = output.view(rows, kv_heads, heads, width, -1).permute(0, 3, 1, 2, 4)
    return output.reshape(rows * width, -1)


def layout_of(tree: Tree, device: torch.device) -> Layout:
    """Arrange the spans of a tree in groups of like length."""
    places = [0] * len(tree.ids)
    groups: list[Group] = []
    before = 0
    for members in _grouped(tree.spans):
        width = max(len(span.path) - span.start for span in members)
        for row, span in enumerate(members):
            for offset, token in enumerate(span.path[span.start :]):
                places[token] = before + row * width + offset
        before += len(members) * width
        groups.append(_group(members, width, device))
    return Layout(groups, torch.tensor(places, device=device))


def _grouped(spans: Sequence[Span]) -> list[list[Span]]:
    """Put spans of like length together, so that padding costs little, and few are alone."""
    grouped: list[list[Span]] = []
    work = width = 0
    for span in sorted(spans, key=lambda span: (len(span.path), span.start)):
        own = len(span.path) - span.start
        work, width = work + own * len(span.path), max(width, own)
        count = len(grouped[-1]) + 1 if grouped else 1
        if grouped and count * width * len(span.path) <= _WASTE * work + _SMALL:
            grouped[-1].append(span)
        else:
            grouped.append([span])
            work, width = own * len(span.path), own
    return grouped


def _group(members: Sequence[Span], width: int, device: torch.device) -> Group:
    length = max(len(span.path) for span in members)
    queries, keys, positions = [], [], []
    for span in members:
        own = len(span.path) - span.start
        queries.append([*span.path[span.start :], *[span.path[-1]] * (width - own)])
        keys.append([*span.path, *[span.path[-1]] * (length - len(span.path))])
        last = len(span.path) - 1
        positions.append([*range(span.start, len(span.path)), *[last] * (width - own)])
    return Group(
        queries_RQ=torch.tensor(queries, device=device),
        keys_RS=torch.tensor(keys, device=device),
        positions_RQ=torch.tensor(positions, device=device),
    )


AttentionInterface.register(NAME, attend)
