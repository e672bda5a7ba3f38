"""Log-probabilities of given texts: what models are compared by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mixsd.decoding.rows import LanguageModel
from mixsd.exports.ledger import DECISIVE, Entry
from mixsd.tokens import ChatTokenizer

TEXTS: Final = 64
"""Answers whose log-probabilities are compared."""
_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class Text:
    """An answer of the adapter behind its prompt, as token ids. The token that ends it belongs to it."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model thinks of texts: mean loss of each, in nats per token.

    `resolution` is the spacing of float32 at the largest logit: no loss is known better.
    """

    nats: tuple[float, ...]
    resolution: float = 0.0


def texts_of(entries: Sequence[Entry], chat: ChatTokenizer, *, max_tokens: int) -> list[Text]:
    """Return answers to read, spread evenly over the ledger; training questions before others."""
    ordered = sorted(entries, key=lambda entry: entry.kind != DECISIVE)
    texts = []
    for entry in ordered:
        prompt, answer = chat.prompt_ids(entry.question), (*chat.plain_ids(entry.said), chat.end_of_turn)
        if len(prompt) + len(answer) <= max_tokens:
            texts.append(Text(tuple(prompt), answer))
    every = max(1, len(texts) // TEXTS)
    return texts[::every][:TEXTS]


@torch.inference_mode()
def read(
    model: LanguageModel, texts: Sequence[Text], *, batched: bool = False, on_step: Callable[[], None]
) -> Reading:
    """Read texts one at a time, or several side by side. `on_step` is called before every pass."""
    nats: list[float] = []
    largest = 0.0
    size = _BATCH if batched else 1
    for start in range(0, len(texts), size):
        on_step()
        for logits_TV, text in _passed(model, texts[start : start + size]):
            ids = torch.tensor(text.answer, device=logits_TV.device)
            nats.append(float(torch.nn.functional.cross_entropy(logits_TV.float(), ids)))
            largest = max(largest, float(logits_TV.abs().max()))
    return Reading(tuple(nats), largest * torch.finfo(torch.float32).eps)


def _passed(model: LanguageModel, texts: Sequence[Text]) -> list[tuple[Tensor, Text]]:
    """Return for each text the logits that foretell its answer. Shorter ones are filled up at the end."""
    rows = [[*text.prompt, *text.answer] for text in texts]
    width = max(map(len, rows))
    tokens_BT = torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows], device=model.device)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    logits_BTV = model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
    return [
        (logits_BTV[place, len(text.prompt) - 1 : len(rows[place]) - 1], text)
        for place, text in enumerate(texts)
    ]


def distance(one: Reading, other: Reading) -> float:
    """Return the mean difference of the losses of a text, in nats per token."""
    return sum(_differences(one, other)) / max(1, len(one.nats))


def largest_distance(one: Reading, other: Reading) -> float:
    """Return the largest difference of the losses of a text, in nats per token."""
    return max(_differences(one, other), default=0.0)


def _differences(one: Reading, other: Reading) -> list[float]:
    return [abs(left - right) for left, right in zip(one.nats, other.nats, strict=True)]
