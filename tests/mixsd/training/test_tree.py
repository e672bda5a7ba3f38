"""A tree holds every text, and each beginning once."""

import random

import pytest
import torch

from mixsd.training.attention import layout_of
from mixsd.training.tree import grow, size_of


def some_texts(seed: int) -> list[tuple[int, ...]]:
    """Texts over three letters, so that many begin alike, some within others, some equal."""
    dice = random.Random(seed)  # noqa: S311  texts of a test
    return [tuple(dice.choices(range(3), k=dice.randint(1, 9))) for _ in range(dice.randint(1, 12))]


@pytest.mark.parametrize("seed", range(20))
def test_every_text_is_read_along_its_path_and_each_beginning_is_there_once(seed: int) -> None:
    texts = some_texts(seed)

    tree = grow(texts)

    for text, path in zip(texts, tree.paths, strict=True):
        assert tuple(tree.ids[place] for place in path) == text
        assert [tree.positions[place] for place in path] == list(range(len(text)))
    beginnings = {text[:length] for text in texts for length in range(1, len(text) + 1)}
    assert len(tree.ids) == len(tree.positions) == len(beginnings) == size_of(texts)


@pytest.mark.parametrize("seed", range(20))
def test_spans_hold_every_token_once_behind_what_comes_before_it(seed: int) -> None:
    tree = grow(some_texts(seed))

    own = [place for span in tree.spans for place in span.path[span.start :]]

    assert own == list(range(len(tree.ids)))
    for span in tree.spans:
        assert max(span.path[: span.start], default=-1) < span.path[span.start]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [0, 1, 2, 9])
def test_no_more_than_so_many_tokens_are_shared(seed: int, most: int) -> None:
    texts = some_texts(seed)

    tree = grow(texts, most=most)

    shared = {text[:length] for text in texts for length in range(1, min(len(text), most) + 1)}
    assert len(tree.ids) == size_of(texts, most=most) >= len(shared)
    assert len(tree.ids) >= sum(len(text) - most for text in set(texts))
    for text, path in zip(texts, tree.paths, strict=True):
        assert tuple(tree.ids[place] for place in path) == text
    if most == 0:
        assert len(tree.ids) == sum(map(len, texts))


@pytest.mark.parametrize("seed", range(20))
def test_queries_of_groups_are_the_tokens_and_see_their_own_text_alone(seed: int) -> None:
    """By the masks alone: what a token may look at is its path up to itself."""
    tree = grow([text * dice for dice, text in enumerate(some_texts(seed), start=1)])
    layout = layout_of(tree, torch.device("cpu"))
    path_of = {place: list(span.path) for span in tree.spans for place in span.path[span.start :]}
    seen: list[list[int]] = []
    tokens: list[int] = []
    for group in layout.groups:
        looks_RQS = group.mask(None, 1, torch.float32)[:, 0] == 0
        for row, queries in enumerate(group.queries_RQ.tolist()):
            tokens += queries
            seen += [group.keys_RS[row][looks_RQS[row, query]].tolist() for query in range(len(queries))]

    for token, place in enumerate(layout.places_N.tolist()):
        assert tokens[place] == token
        assert seen[place] == path_of[token][: tree.positions[token] + 1]


def test_texts_of_like_length_share_a_group_and_long_ones_do_not_pad_short_ones() -> None:
    short = [(number, *range(20)) for number in range(8)]
    long = [(100 + number, *range(900)) for number in range(2)]

    layout = layout_of(grow([*short, *long]), torch.device("cpu"))

    assert [tuple(group.queries_RQ.shape) for group in layout.groups] == [(8, 21), (2, 901)]
