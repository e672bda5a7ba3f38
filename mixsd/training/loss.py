"""The loss of the target tokens, and of nothing else: NLL, or against soft targets.

Scores over the vocabulary are computed only for the places that judge a token, once for each,
even where several texts continue from it.

Axes: J places whose scores are computed, M tokens that they judge, K candidates of a soft target,
V vocabulary, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from mixsd.decoding.rows import wide
from mixsd.training.batches import Example
from mixsd.training.soft import Kind, soft_loss

_TILE: Final = {"cpu": 1 << 23, "cuda": 1 << 26}
"""Scores that are in memory at once."""


@dataclass(frozen=True, slots=True)
class _Hard:
    """Tokens whose loss is their NLL. `rows_M` says by which of the J places, in rising order."""

    rows_M: Tensor
    weights_M: Tensor
    ids_M: Tensor

    def losses(self, logits_MV: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits_MV, self.ids_M.to(logits_MV.device), reduction="none")

    def between(self, low: int, high: int) -> "_Hard":
        return _Hard(self.rows_M[low:high], self.weights_M[low:high], self.ids_M[low:high])


@dataclass(frozen=True, slots=True)
class _Soft:
    """Tokens that are compared with what the frozen model holds likely, and by which places."""

    rows_M: Tensor
    weights_M: Tensor
    ids_MK: Tensor
    logprobs_MK: Tensor
    kind: Kind

    def losses(self, logits_MV: Tensor) -> Tensor:
        ids_MK, logprobs_MK = (part.to(logits_MV.device) for part in (self.ids_MK, self.logprobs_MK))
        return soft_loss(logits_MV, ids_MK, logprobs_MK, kind=self.kind)

    def between(self, low: int, high: int) -> "_Soft":
        part = slice(low, high)
        return _Soft(
            self.rows_M[part], self.weights_M[part], self.ids_MK[part], self.logprobs_MK[part], self.kind
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What the scores of J places are judged by.

    Attributes:
        places_J: The places, in rising order.
        tokens: All that they judge, those of one kind together.
    """

    places_J: Tensor
    tokens: Sequence[_Hard | _Soft]

    def loss(self, logits_JV: Tensor, start: int = 0) -> Tensor:
        """Return the summed loss by the scores of some places in a row, each token with its weight.

        Args:
            logits_JV: Their scores, with or without gradients.
            start: The first of them.
        """
        logits_JV = wide(logits_JV)
        total = logits_JV.new_zeros(())
        for tokens in self.tokens:
            bounds = torch.tensor([start, start + len(logits_JV)])
            low, high = torch.searchsorted(tokens.rows_M, bounds).tolist()
            if low < high:
                part = tokens.between(low, high)
                losses_M = part.losses(_picked(logits_JV, part.rows_M - start))
                total = total + losses_M @ part.weights_M.to(losses_M)
        return total


def _picked(logits_JV: Tensor, rows_M: Tensor) -> Tensor:
    """Return a row of scores for each token, without a copy where that is all rows in order."""
    if torch.equal(rows_M, torch.arange(len(logits_JV))):
        return logits_JV
    return logits_JV[rows_M.to(logits_JV.device)]


def judged_by(examples: Sequence[Example], paths: Sequence[Sequence[int]]) -> Judged:
    """Say what judges the targets of examples.

    Args:
        examples: Whose targets are judged.
        paths: For each, the places whose scores judge its target tokens.
    """
    places = sorted({place for path in paths for place in path})
    rows = {place: row for row, place in enumerate(places)}
    kinds: dict[Any, list[tuple[int, float, int, int]]] = {}
    for number, (example, path) in enumerate(zip(examples, paths, strict=True)):
        soft = example.soft
        kind = None if soft is None else (soft.kind, soft.ids_TK.shape[1])
        kinds.setdefault(kind, []).extend(
            (rows[place], example.weight, number, offset) for offset, place in enumerate(path)
        )
    tokens = [_tokens(examples, sorted(members)) for _, members in sorted(kinds.items(), key=_by_kind)]
    return Judged(torch.tensor(places), tokens)


def _by_kind(item: tuple[Any, Any]) -> tuple[str, int]:
    return item[0] or ("", 0)


def _tokens(examples: Sequence[Example], members: Sequence[tuple[int, float, int, int]]) -> _Hard | _Soft:
    """Return tokens of one kind. Of each: its row, its weight, its example, its place in the target."""
    rows_M = torch.tensor([row for row, _, _, _ in members])
    weights_M = torch.tensor([weight for _, weight, _, _ in members])
    chosen = [(examples[number], offset) for _, _, number, offset in members]
    softs = [(example.soft, offset) for example, offset in chosen if example.soft is not None]
    if not softs:
        return _Hard(rows_M, weights_M, torch.tensor([example.target[offset] for example, offset in chosen]))
    ids_MK = torch.stack([soft.ids_TK[offset] for soft, offset in softs])
    logprobs_MK = torch.stack([soft.logprobs_TK[offset] for soft, offset in softs])
    return _Soft(rows_M, weights_M, ids_MK, logprobs_MK, softs[0][0].kind)


def head_loss(head: nn.Module, hidden_JD: Tensor, judged: Judged) -> Tensor:
    """Return the summed loss by the scores that a head gives to hidden states.

    Scores are made in tiles, and the gradient of each is taken at once: the scores of more than
    one tile are never in memory, and none is computed twice.

    Args:
        head: From hidden states to scores.
        hidden_JD: Hidden states at the places that judge.
        judged: What they judge.
    """
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    loss = _HeadLoss.apply(head, judged, hidden_JD, *trained)  # type: ignore[no-untyped-call]
    return cast("Tensor", loss)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, head: nn.Module, judged: Judged, *inputs: Tensor) -> Tensor:
        hidden_JD, parameters = inputs[0].detach(), inputs[1:]
        wanted = any(ctx.needs_input_grad)
        gradients = [torch.zeros_like(each) for each in inputs] if wanted else []
        total: Tensor | float = 0.0
        for start, part_JD in _tiles(head, hidden_JD):
            with torch.set_grad_enabled(wanted):
                part_JD.requires_grad_(wanted)
                loss = judged.loss(head(part_JD), start)
                made = torch.autograd.grad(loss, (part_JD, *parameters)) if wanted else ()
            total = total + loss.detach()
            for place, gradient in enumerate(made):
                kept = gradients[0][start : start + len(part_JD)] if place == 0 else gradients[place]
                kept += gradient
        ctx.save_for_backward(*gradients)
        return cast("Tensor", total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Any:
        return None, None, *(gradient * outer.to(gradient.dtype) for gradient in ctx.saved_tensors)


def _tiles(head: nn.Module, hidden_JD: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Cut hidden states so that the scores of a part are about a tile. Yields each with its first row."""
    width = getattr(head, "out_features", None) or 1 << 16
    size = max(1, _TILE.get(hidden_JD.device.type, _TILE["cpu"]) // width)
    for start in range(0, len(hidden_JD), size):
        yield start, hidden_JD[start : start + size].detach()
