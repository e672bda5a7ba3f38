"""How likely a model holds each of several continuations of one text, which is read once for all of them.

A token's keys and values depend on the tokens before it alone. So the keys and values of what the
continuations share are computed once and copied; that is no approximation, and saves most of the
tokens where answers are short and questions long.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import log_softmax
from transformers import DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer


class NotSharedError(Exception):
    """The model keeps what it has read in a form that cannot be copied for several continuations."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A text with its continuations.

    Attributes:
        context: Token ids, at least one.
        answers: Token ids of each continuation, at least one.
    """

    context: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]


Likelihood = tuple[float, bool]
"""Sum of the log-probabilities of a continuation's tokens in nats; whether each is the likeliest."""


@torch.inference_mode()
def likelihoods(
    model: Any,
    texts: Sequence[Shared],
    *,
    rows: int,
    on_rows: Callable[[int], None],
    dtype: torch.dtype | None = None,
) -> list[list[Likelihood]]:
    """Return for each text the likelihoods of its continuations.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        texts: Each with its continuations.
        rows: Most continuations side by side; of one text there may be more.
        on_rows: Called before every forward pass with the continuations it is for. May raise to stop.
        dtype: In which log-probabilities are computed; None takes that of the logits.

    Raises:
        NotSharedError: The model's cache is none that can be copied.
    """
    found: list[list[Likelihood]] = [[] for _ in texts]
    for places in _batches(texts, rows):
        batch = [texts[place] for place in places]
        on_rows(sum(len(text.answers) for text in batch))
        for place, told in zip(places, _of_batch(model, batch, dtype), strict=True):
            found[place] = told
    return found


def _batches(texts: Sequence[Shared], rows: int) -> Iterator[list[int]]:
    """Yield texts of the same length, so that nothing is padded before a continuation; longest first."""
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place].context))
    batch: list[int] = []
    filled = 0
    for place in order:
        size = len(texts[place].answers)
        other = batch and len(texts[batch[0]].context) != len(texts[place].context)
        if other or (batch and filled + size > rows):
            yield batch
            batch, filled = [], 0
        batch.append(place)
        filled += size
    if batch:
        yield batch


def _of_batch(model: Any, batch: Sequence[Shared], dtype: torch.dtype | None) -> list[list[Likelihood]]:
    """Read the texts, copy what was read to each continuation, and read these.

    Shapes: B texts of L tokens, N continuations of at most C tokens.
    """
    context_BL = torch.tensor([text.context for text in batch], device=model.device)
    length = context_BL.shape[1]
    out = model(input_ids=context_BL, use_cache=True, logits_to_keep=1)
    owner = [place for place, text in enumerate(batch) for _ in text.answers]
    answers = [answer for text in batch for answer in text.answers]
    owner_N = torch.tensor(owner, device=model.device)
    first_N1V = out.logits[:, -1:].index_select(0, owner_N)
    parts = [first_N1V]
    longest = max(map(len, answers))
    if longest > 1:
        cache = _copied(getattr(out, "past_key_values", None), owner_N)
        padded = [[*answer[:-1], *[answer[-1]] * (longest - len(answer))] for answer in answers]
        rest_NC = torch.tensor(padded, device=model.device)
        positions_NC = torch.arange(length, length + longest - 1, device=model.device).expand_as(rest_NC)
        later = model(input_ids=rest_NC, past_key_values=cache, position_ids=positions_NC, use_cache=True)
        parts.append(later.logits)
    told = iter(_told(torch.cat(parts, dim=1), answers, dtype))
    return [[next(told) for _ in text.answers] for text in batch]


def _copied(cache: Any, owner_N: torch.Tensor) -> DynamicCache:
    """Copy the keys and values of each text to its continuations.

    Raises:
        NotSharedError: There are other things than these in it.
    """
    if not isinstance(cache, DynamicCache):
        raise NotSharedError
    if not all(isinstance(layer, DynamicLayer | DummyLayer) for layer in cache.layers):
        raise NotSharedError
    cache.batch_select_indices(owner_N)
    return cache


def _told(
    logits_NCV: torch.Tensor, answers: Sequence[tuple[int, ...]], dtype: torch.dtype | None
) -> Iterator[Likelihood]:
    for logits_CV, answer in zip(logits_NCV, answers, strict=True):
        logs_CV = log_softmax(logits_CV[: len(answer)], dim=-1, dtype=dtype)
        tokens_C = torch.tensor(answer, device=logs_CV.device)
        chosen_C = logs_CV.gather(1, tokens_C[:, None])[:, 0]
        yield float(chosen_C.sum()), bool((logs_CV.argmax(-1) == tokens_C).all())
