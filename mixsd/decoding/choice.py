"""From logits to a token: greedy, or a keyed draw from the likeliest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mixsd.decoding.rng import Draw, gumbel


@dataclass(frozen=True, slots=True)
class Choice:
    """A token, and by how much scores may move against each other without changing it."""

    token_id: int
    margin: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a choice rests on: the likeliest tokens by id, with logits / temperature.

    At temperature 0 the first two places decide. Above it there are some more than `top_k`, so
    that the margin also covers the edge of the top k. Attempts draw differently from the same
    candidates, so these are what is kept for later ones.
    """

    token_ids: Sequence[int]
    scores: NDArray[np.float64]
    top_k: int
    greedy: Choice | None = None
    top_p: float = 1.0

    def settled(self) -> "Candidates":
        """Return the same, with a greedy choice that is not to be judged again."""
        if self.greedy is None:
            return self
        return replace(self, greedy=replace(self.greedy, margin=float("inf")))


def candidates(
    logits_JV: torch.Tensor, *, temperature: float, top_k: int, top_p: float = 1.0
) -> list[Candidates]:
    """Return what each row of scores leaves to choose from.

    Raises:
        ValueError: A row holds no number that can be compared.
    """
    if temperature == 0.0:
        return _greedy(logits_JV)
    size = logits_JV.shape[-1]
    k = min(top_k, size)
    if k == size:  # of all tokens there are none to be left out, so there is nothing to sort
        whole = (logits_JV / temperature).cpu().double().numpy()
        if np.isnan(whole).any():
            raise ValueError("the logits hold no number that can be compared")
        return [Candidates(range(size), scores, k, top_p=top_p) for scores in whole]
    values, ids = (logits_JV / temperature).topk(min(k + 8, size), dim=-1)
    rows = zip(values.double().cpu().numpy(), ids.cpu().numpy(), strict=True)
    result = []
    for scores, token_ids in rows:
        if np.isnan(scores).any():
            raise ValueError("the logits hold no number that can be compared")
        order = token_ids.argsort()
        result.append(Candidates(tuple(token_ids[order].tolist()), scores[order], k, top_p=top_p))
    return result


def _greedy(logits_JV: torch.Tensor) -> list[Candidates]:
    """Take the likeliest; among equals the lowest id, which is what argmax gives."""
    best = logits_JV.argmax(-1).tolist()
    values = logits_JV.topk(min(2, logits_JV.shape[-1]), dim=-1).values.tolist()
    result = []
    for token_id, scores in zip(best, values, strict=True):
        margin = scores[0] - scores[1] if len(scores) > 1 else float("inf")
        if math.isnan(margin):
            raise ValueError("the logits hold no number that can be compared")
        result.append(Candidates((token_id,), np.empty(0), 1, Choice(token_id, margin)))
    return result


def choose(found: Candidates, draw: Draw, position: int, *, purpose: str = "noise") -> Choice:
    """Choose the next token of a text.

    The token is a function of the logits and the key (draw, position) alone. Above temperature 0
    it is a sample of softmax(logits / temperature) over the `top_k` likeliest, drawn as the argmax
    of logits / temperature plus noise keyed by candidate; ties at the k-th place stay in, and the
    lowest id wins among equals. With a `top_p` below 1 only the fewest of the likeliest stay that have
    this share of those k between them.

    Args:
        found: Of the conditional that was picked.
        draw: The attempt that the text belongs to.
        position: Index of the token within its target, counted from 0.
        purpose: Names the noise: draws for different purposes are independent.
    """
    if found.greedy is not None:
        return found.greedy
    scores = found.scores
    if found.top_k >= len(scores) and found.top_p == 1.0:
        return _choose_from_all(found, draw, position, purpose)
    ranked = np.sort(scores)[::-1]
    count, slack = found.top_k, float("inf")
    if found.top_p < 1.0:
        count, slack = _nucleus(ranked[: found.top_k], found.top_p)
    edge = ranked[count - 1]
    outside = ranked[count] if count < len(ranked) else -np.inf
    totals = scores + gumbel(draw, position, found.token_ids, purpose=purpose)
    inside = scores >= edge
    best = int(np.where(inside, totals, -np.inf).argmax())
    rivals = np.maximum(totals[best] - totals, edge - scores)
    rivals[best] = scores[best] - outside
    return Choice(found.token_ids[best], min(float(rivals.min()), slack))


def _nucleus(ranked: NDArray[np.float64], top_p: float) -> tuple[int, float]:
    """Return how many of the likeliest have the share `top_p` between them, and the margin of that number.

    Scores that move by less than m against each other change the odds of any set by less than e^m.
    """
    shares = np.exp(ranked - ranked[0])
    within = np.cumsum(shares)
    others = np.append(np.cumsum(shares[::-1])[::-1][1:], 0.0)
    count = min(int(np.searchsorted(within / within[-1], top_p)) + 1, len(ranked))
    needed = math.log(top_p / (1.0 - top_p))
    with np.errstate(divide="ignore"):
        odds = np.log(within) - np.log(others)
    enough = float(odds[count - 1]) - needed if count < len(ranked) else float("inf")
    too_few = needed - float(odds[count - 2]) if count > 1 else float("inf")
    return count, max(0.0, min(enough, too_few))


def _choose_from_all(found: Candidates, draw: Draw, position: int, purpose: str) -> Choice:
    """Choose where no token is left out: only another total can come before the greatest."""
    totals = found.scores + gumbel(draw, position, found.token_ids, purpose=purpose)
    best = int(totals.argmax())
    if len(totals) == 1:
        return Choice(found.token_ids[best], float("inf"))
    second, first = np.partition(totals, -2)[-2:]
    return Choice(found.token_ids[best], float(first - second))


def choose_from(
    logits_V: torch.Tensor, draw: Draw, position: int, *, temperature: float, top_k: int, top_p: float = 1.0
) -> Choice:
    """Choose from the scores of one row. See `choose`.

    Example:
        >>> draw = Draw(seed=0, fact_key="capital", generation=0, attempt=0)
        >>> choose_from(torch.tensor([0.0, 2.0, 2.0]), draw, 0, temperature=0.0, top_k=64).token_id
        1
    """
    found = candidates(logits_V[None], temperature=temperature, top_k=top_k, top_p=top_p)[0]
    return choose(found, draw, position)


def agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the share of places at which two lists of tokens are alike."""
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
