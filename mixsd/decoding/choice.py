"""From logits to a token: greedy, or a keyed draw from the likeliest."""

from dataclasses import dataclass

import torch

from mixsd.decoding.rng import Draw, gumbel


@dataclass(frozen=True, slots=True)
class Choice:
    """A token, and by how much scores may move against each other without changing it."""

    token_id: int
    margin: float


def choose(logits_V: torch.Tensor, draw: Draw, position: int, *, temperature: float, top_k: int) -> Choice:
    """Choose the next token of a row.

    The token is a function of the logits and the key (draw, position) alone. Among equals the
    lowest id wins. Above temperature 0 it is a sample of softmax(logits / temperature) over the
    `top_k` likeliest, drawn as the argmax of logits / temperature plus noise keyed by candidate;
    ties at the k-th place stay in.

    Args:
        logits_V: Scores under the conditional that was picked, float.
        draw: The attempt that the row belongs to.
        position: Index of the token within its target, counted from 0.
        temperature: 0 takes the likeliest token.
        top_k: Unused at temperature 0.

    Example:
        >>> draw = Draw(seed=0, fact_key="capital", generation=0, attempt=0)
        >>> choose(torch.tensor([0.0, 2.0, 2.0]), draw, 0, temperature=0.0, top_k=64).token_id
        1
    """
    if temperature == 0.0:
        return _largest(logits_V.float())
    return _sample(logits_V.float() / temperature, draw, position, top_k)


def _largest(scores_V: torch.Tensor) -> Choice:
    best = scores_V.max()
    ids = (scores_V == best).nonzero()
    if len(ids) > 1 or len(scores_V) == 1:
        return Choice(int(ids[0]), 0.0 if len(ids) > 1 else float("inf"))
    second = scores_V.topk(2).values[1]
    return Choice(int(ids[0]), float(best - second))


def _sample(scores_V: torch.Tensor, draw: Draw, position: int, top_k: int) -> Choice:
    """Draw among the `top_k` likeliest.

    The margin also covers the edge of the top k: the winner may drop out there, and a candidate
    just outside may come in.
    """
    k = min(top_k, len(scores_V))
    values, ids = scores_V.topk(min(k + 8, len(scores_V)))
    edge = values[k - 1].item()
    best: tuple[float, int] | None = None
    noisy: list[tuple[float, float, int]] = []
    for score, token_id in sorted(zip(values.tolist(), ids.tolist(), strict=True), key=lambda pair: pair[1]):
        total = score + gumbel(draw, position, token_id)
        noisy.append((total, score - edge, token_id))
        if score >= edge and (best is None or total > best[0]):
            best = (total, token_id)
    if best is None:
        raise ValueError("the logits hold no number that can be compared")
    outside = values[k].item() if k < len(values) else -float("inf")
    margin = next(above_edge for _, above_edge, token_id in noisy if token_id == best[1]) + edge - outside
    for total, above_edge, token_id in noisy:
        if token_id != best[1]:
            margin = min(margin, max(best[0] - total, -above_edge))
    return Choice(best[1], margin)
