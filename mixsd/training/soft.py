"""Soft targets: what the frozen model holds likely at each place, and the loss against it.

As in on-policy self-distillation (arXiv:2605.16865, section 3.3 of its code): only the K likeliest
tokens of the frozen model are kept, and it and the trained model are both renormalised over these.

Axes: T places of a target, N places of a batch, K candidates of a place, V vocabulary.
"""

from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor

from mixsd.decoding.rows import wide

Kind = Literal["forward", "reverse", "nll"]

_NEVER: Final = -1e4
"""Stands in for a log-probability of minus infinity, which would make 0 times it no number."""


@dataclass(frozen=True, slots=True, eq=False)
class Soft:
    """What the frozen model holds likely at each of the T places of a target.

    Attributes:
        ids_TK: Its K likeliest tokens, the likeliest first.
        logprobs_TK: Their log-probabilities in nats, renormalised over these K; float32.
        kind: How the model is compared with it, see `soft_loss`.
    """

    ids_TK: Tensor
    logprobs_TK: Tensor
    kind: Kind


def soft_targets(logits_TV: Tensor, k: int, kind: Kind) -> Soft:
    """Return the soft targets that scores of the frozen model give.

    Args:
        logits_TV: Its scores at each place.
        k: Candidates kept, at most; with the kind `nll` usually 1, the likeliest token.
        kind: How the model will be compared with them.

    Example:
        >>> soft_targets(Tensor([[0.0, 2.0, 2.0]]), 2, "forward").ids_TK.sort().values.tolist()
        [[1, 2]]
    """
    best = wide(logits_TV).topk(min(k, logits_TV.shape[-1]), dim=-1)
    logprobs_TK = best.values.log_softmax(-1).float().clamp(min=_NEVER)
    return Soft(best.indices, logprobs_TK, kind)


def soft_loss(logits_NV: Tensor, ids_NK: Tensor, logprobs_NK: Tensor, *, kind: Kind) -> Tensor:
    """Return the loss at each place against the stored distribution p, in nats, [N].

    `forward` is KL(p || model) and `reverse` KL(model || p), both over the K stored tokens alone,
    with the model renormalised over them. `nll` is the cross-entropy of the model over its whole
    vocabulary: with K = 1 the NLL of the likeliest token, which a renormalised loss could not tell.

    Args:
        logits_NV: Scores of the model that is trained, with gradients.
        ids_NK: Stored tokens of each place.
        logprobs_NK: Their log-probabilities.
        kind: Which loss.
    """
    logits_NV = wide(logits_NV)
    p_NK = logprobs_NK.to(logits_NV.dtype)
    if kind == "nll":
        return -(p_NK.exp() * logits_NV.log_softmax(-1).gather(-1, ids_NK)).sum(-1)
    q_NK = logits_NV.gather(-1, ids_NK).log_softmax(-1)
    if kind == "forward":
        return (p_NK.exp() * (p_NK - q_NK)).sum(-1)
    return (q_NK.exp() * (q_NK - p_NK)).sum(-1)
