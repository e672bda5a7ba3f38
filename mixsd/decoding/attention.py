"""Attention for rows that lie side by side in one flat sequence.

The transformer runs on a single row [1, N]: the tokens of many texts, each with its own position,
and no padding anywhere. Attention alone must know which token belongs to which text. The function
here, called by transformers in place of its own, puts new keys and values into a `Store` and lets
every token look back in its own row. Query heads that share keys are folded into the query axis,
so keys are never repeated.

Axes: N tokens of the flat sequence, R rows, Q tokens of a row, S key positions, H query heads,
K key-value heads, G = H / K, D width of a head.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from mixsd.decoding.store import Store
from mixsd.errors import UnsuitedModelError

NAME: Final = "mixsd_rows"
FEW_QUERIES: Final = 64
"""So many places, padding included, are looked up at once: a second call would cost more."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of the flat sequence that extend one row: `tokens[i]` stands at `start + i` of it."""

    row: int
    start: int
    tokens: Sequence[int]


def mask_of(positions_RQ: Tensor, length: int, window: int | None, heads: int, dtype: torch.dtype) -> Tensor:
    """Return 0 where a query may look and -inf where not, [R, 1, G * Q, S].

    Args:
        positions_RQ: Position of each query in its row.
        length: Keys, from position 0 on.
        window: How many positions a query sees, its own included; None for all before it.
        heads: Query heads of a key-value head.
        dtype: Of the mask.
    """
    places_S = torch.arange(length, device=positions_RQ.device)
    seen_RQS = places_S <= positions_RQ[..., None]
    if window is not None:
        seen_RQS &= places_S > positions_RQ[..., None] - window
    mask_RQS = torch.zeros(seen_RQS.shape, dtype=dtype, device=places_S.device)
    mask_RQS.masked_fill_(~seen_RQS, float("-inf"))
    rows, width, _ = mask_RQS.shape
    spread = mask_RQS[:, None, None].expand(rows, 1, heads, width, length)
    return spread.reshape(rows, 1, heads * width, length)


@dataclass(slots=True)
class Group:
    """Rows with about as many new tokens, padded to the same number within attention only.

    Attributes:
        rows: Rows read; a slice where they lie together.
        queries: [R * Q], index of a token in the flat sequence; padding points to the first.
        real: [n], which of the R * Q places are no padding.
        tokens: [n], index of those in the flat sequence.
        positions_RQ: Position of each query in its row; padding sees position 0 alone.
        length: Keys looked at, from position 0 on.
    """

    rows: slice | Tensor
    queries: Tensor
    real: Tensor
    tokens: Tensor
    positions_RQ: Tensor
    length: int
    masks: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, heads: int, dtype: torch.dtype) -> Tensor:
        """Return 0 where a query may look and -inf where not, [R, 1, G * Q, S]."""
        if window is not None and self.length <= window:
            window = None
        key = (window, heads)
        if key not in self.masks:
            self.masks[key] = mask_of(self.positions_RQ, self.length, window, heads, dtype)
        return self.masks[key]


@dataclass(slots=True)
class Layout:
    """Where the tokens of one forward pass belong.

    `sources`, `rows` and `positions` have one entry for each place of the store that is written:
    a token that several rows share is computed once and written to each.
    """

    sources: Tensor
    rows: Tensor
    positions: Tensor
    groups: list[Group]


_current: ContextVar[tuple[Store, Layout] | None] = ContextVar("mixsd_rows", default=None)


@contextmanager
def in_rows(model: PreTrainedModel, store: Store, layout: Layout) -> Iterator[None]:
    """Have a model attend by rows while the block runs."""
    before = model.config._attn_implementation  # noqa: SLF001  there is no public one that is cheap
    token = _current.set((store, layout))
    model.config._attn_implementation = NAME  # noqa: SLF001
    try:
        yield
    finally:
        model.config._attn_implementation = before  # noqa: SLF001
        _current.reset(token)


def attend(
    module: torch.nn.Module,
    query_1HND: Tensor,
    key_1KND: Tensor,
    value_1KND: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend by rows. Called by the attention layers of a model within `in_rows`.

    Returns:
        [1, N, H, D], and no weights.

    Raises:
        UnsuitedModelError: The layer asks for something that is not done here.
    """
    for name in ("softcap", "s_aux"):
        if others.get(name) is not None:
            raise UnsuitedModelError(f"its attention has {name}")
    now = _current.get()
    if now is None or attention_mask is not None:
        raise UnsuitedModelError("its attention is called with a mask of its own")
    store, layout = now
    keys_RSKD, values_RSKD = store.write(module.layer_idx, key_1KND[0], value_1KND[0], layout)  # type: ignore[arg-type]
    query_NHD = query_1HND[0].transpose(0, 1)
    output_NHD = query_NHD.new_empty(*query_NHD.shape[:2], values_RSKD.shape[-1])
    for group in layout.groups:
        output_NHD[group.tokens] = _attend(
            group, query_NHD, keys_RSKD, values_RSKD, scaling=scaling, window=sliding_window
        )
    return output_NHD[None], None


def _attend(
    group: Group,
    query_NHD: Tensor,
    keys_RSKD: Tensor,
    values_RSKD: Tensor,
    *,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Return what the real tokens of a group see, [n, H, D]."""
    keys_RKSD = keys_RSKD[group.rows, : group.length].transpose(1, 2)
    values_RKSD = values_RSKD[group.rows, : group.length].transpose(1, 2)
    rows, kv_heads = keys_RKSD.shape[:2]
    heads = query_NHD.shape[1] // kv_heads
    width = group.positions_RQ.shape[1]
    query = query_NHD[group.queries].view(rows, width, kv_heads, heads, -1).permute(0, 2, 3, 1, 4)
    output = scaled_dot_product_attention(
        query.reshape(rows, kv_heads, heads * width, -1),
        keys_RKSD,
        values_RKSD,
        attn_mask=group.mask(window, heads, query.dtype),
        scale=scaling,
    )
    output = output.view(rows, kv_heads, heads, width, -1).permute(0, 3, 1, 2, 4)
    return output.reshape(rows * width, heads * kv_heads, -1)[group.real]


def layout_of(
    spans: Sequence[Span], copies: Sequence[tuple[int, int, int]], *, rows: int, device: torch.device
) -> Layout:
    """Arrange spans that follow each other in the flat sequence.

    Args:
        spans: What is computed, in the order of the flat sequence. At most one a row.
        copies: (index in the flat sequence, row, position) to write besides.
        rows: Rows of the store.
        device: Of the model.
    """
    sources: list[int] = []
    targets: list[int] = []
    positions: list[int] = []
    by_size: dict[int, list[tuple[int, Span]]] = {}
    few = len(spans) * max((len(span.tokens) for span in spans), default=0) <= FEW_QUERIES
    place = 0
    for span in spans:
        size = len(span.tokens)
        sources += range(place, place + size)
        targets += [span.row] * size
        positions += range(span.start, span.start + size)
        by_size.setdefault(0 if few else (size - 1).bit_length(), []).append((place, span))
        place += size
    for source, row, position in copies:
        sources.append(source)
        targets.append(row)
        positions.append(position)

    def tensor(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=device)

    groups = [_group(members, rows, device) for _, members in sorted(by_size.items())]
    return Layout(tensor(sources), tensor(targets), tensor(positions), groups)


def _group(members: Sequence[tuple[int, Span]], rows: int, device: torch.device) -> Group:
    """Pad spans of like length. Rows that lie together are read in place, others are gathered."""
    width = max(len(span.tokens) for _, span in members)
    by_row = {span.row: (place, span) for place, span in members}
    low, high = min(by_row), max(by_row) + 1
    together = 2 * len(by_row) >= high - low
    read = list(range(low, high)) if together else sorted(by_row)
    queries = [0] * (len(read) * width)
    seen = [0] * (len(read) * width)
    real, tokens = [], []
    for index, row in enumerate(read):
        if row not in by_row:
            continue
        place, span = by_row[row]
        for offset in range(len(span.tokens)):
            at = index * width + offset
            queries[at], seen[at] = place + offset, span.start + offset
            real.append(at)
            tokens.append(place + offset)
    return Group(
        rows=slice(low, high) if together else torch.tensor(read, device=device),
        queries=torch.tensor(queries, device=device),
        real=torch.tensor(real, device=device),
        tokens=torch.tensor(tokens, device=device),
        positions_RQ=torch.tensor(seen, device=device).view(len(read), width),
        length=max(span.start + len(span.tokens) for _, span in members),
    )


AttentionInterface.register(NAME, attend)
