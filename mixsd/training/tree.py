"""Texts as a tree of tokens on one flat row: what several begin with is there once.

Knows nothing of models. See `mixsd.training.attention` for how such a row is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mixsd.decoding.rows import common


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of the flat row that continue a text.

    Attributes:
        path: Where in the flat row each token of the text stands, to the end of the span.
        start: Tokens of the text before the span: other spans hold them.
    """

    path: Sequence[int]
    start: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Texts on one flat row of N tokens.

    Attributes:
        ids: The tokens.
        positions: The place of each within its text.
        spans: What each text adds, in the order of the row. A text that adds nothing has none.
        paths: For each text, where in the row its tokens stand.
    """

    ids: Sequence[int]
    positions: Sequence[int]
    spans: Sequence[Span]
    paths: Sequence[Sequence[int]]


def grow(texts: Sequence[tuple[int, ...]], *, most: int | None = None) -> Tree:
    """Put texts on one row. Of each, `most` tokens at most are shared: any number if it is None.

    Example:
        >>> tree = grow([(5, 6, 7), (5, 6, 8, 9)])
        >>> tree.ids, tree.positions, tree.paths
        ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3], [[0, 1, 2], [0, 1, 3, 4]])
    """
    ids: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    paths: list[list[int]] = [[] for _ in texts]
    before: tuple[int, ...] = ()
    path: list[int] = []
    # In sorted order, what a text shares with any earlier one it shares with the one before it.
    for place in sorted(range(len(texts)), key=lambda place: texts[place]):
        text = texts[place]
        start = _shared(before, text, most)
        path = [*path[:start], *range(len(ids), len(ids) + len(text) - start)]
        ids += text[start:]
        positions += range(start, len(text))
        if start < len(text):
            spans.append(Span(path, start))
        paths[place] = path
        before = text
    return Tree(ids, positions, spans, paths)


def size_of(texts: Sequence[tuple[int, ...]], *, most: int | None = None) -> int:
    """Return how many tokens the row of these texts has."""
    ordered = sorted(texts)
    shared = sum(_shared(*pair, most) for pair in pairwise(ordered))
    return sum(map(len, texts)) - shared


def _shared(first: tuple[int, ...], second: tuple[int, ...], most: int | None) -> int:
    shared = common(first, second)
    return shared if most is None else min(shared, most)
