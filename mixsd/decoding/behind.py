"""Scores of texts behind prompts that come again and again: what is computed of a prompt is kept.

A prompt is always read alone, and a text always alone behind it. So the scores do not depend on what
was kept, and a run that goes on where it stopped gives the same ones to the bit. From those of
`mixsd.decoding.rows.logits_alone` they differ in the last bits.

Knows nothing of facts or tokenization.
"""

import copy
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache

from mixsd.decoding.rows import LanguageModel, logits_alone, wide
from mixsd.decoding.suited import tolerance

KEPT_BYTES: Final = 256 * 2**20
_TRIAL: Final = (13, 5)
"""Tokens of prompt and text of the trial."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A prompt as the model read it.

    Attributes:
        cache: Its keys and values.
        logits_1V: Scores of the token behind it.
        size: Bytes of both.
    """

    cache: Any
    logits_1V: Tensor
    size: int


class Behind:
    """Scores texts behind prompts, for one model that does not change."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        """Keep what is computed of prompts, up to so many bytes on the model's device.

        Prompts that were not used for the longest time are given up first.
        """
        self._room = kept_bytes
        self._kept: OrderedDict[tuple[int, ...], _Read] = OrderedDict()
        self.used = 0
        """Bytes that are kept."""
        self._suits: bool | None = None

    @torch.inference_mode()
    def logits(self, model: LanguageModel, prompt: tuple[int, ...], tokens: Sequence[int]) -> Tensor:
        """Return the scores of each token of a text behind a prompt, [T, V], in float32 or float64.

        Args:
            model: Always the same one, in evaluation mode.
            prompt: Tokens, at least one.
            tokens: The T tokens of the text, at least one. What would come behind it is not scored.
        """
        if self._suits is None:
            self._suits = _is_exact(model)
        if not self._suits:
            return logits_alone(model, [*prompt, *tokens[:-1]], last=len(tokens))
        return _behind(model, self._of(model, prompt), tokens)

    def _of(self, model: LanguageModel, prompt: tuple[int, ...]) -> _Read:
        if (read := self._kept.get(prompt)) is not None:
            self._kept.move_to_end(prompt)
            return read
        read = _read(model, prompt)
        if read.size <= self._room:
            self._kept[prompt] = read
            self.used += read.size
        while self.used > self._room:
            self.used -= self._kept.popitem(last=False)[1].size
        return read


def _read(model: LanguageModel, prompt: Sequence[int]) -> _Read:
    ids_1P = torch.tensor([list(prompt)], device=model.device)
    cache = DynamicCache(config=model.config)
    output = model(input_ids=ids_1P, past_key_values=cache, use_cache=True, logits_to_keep=1)
    logits_1V = output.logits[0].clone()
    return _Read(output.past_key_values, logits_1V, _bytes_of(output.past_key_values) + logits_1V.nbytes)


def _behind(model: LanguageModel, read: _Read, tokens: Sequence[int]) -> Tensor:
    if len(tokens) == 1:
        return wide(read.logits_1V)
    ids_1T = torch.tensor([list(tokens[:-1])], device=model.device)
    cache = copy.deepcopy(read.cache)  # some kinds of layers write into what they hold
    output = model(input_ids=ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=len(tokens) - 1)
    return wide(torch.cat([read.logits_1V, output.logits[0]]))


def _bytes_of(cache: Any) -> int:
    found = (vars(layer).values() for layer in cache.layers)
    return sum(value.nbytes for values in found for value in values if isinstance(value, Tensor))


def _is_exact(model: LanguageModel) -> bool:
    """Try whether the scores are the model's own: not every model has a cache of keys and values."""
    dice = random.Random(11)  # noqa: S311  tokens of a trial
    size = min(model.config.get_text_config().vocab_size, 1000)
    prompt, text = ([dice.randrange(size) for _ in range(count)] for count in _TRIAL)
    try:
        found_TV = _behind(model, _read(model, prompt), text)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001  whatever a foreign model may raise: its cache is none of this kind
        return False
    alone_TV = logits_alone(model, [*prompt, *text[:-1]], last=len(text))
    return float((found_TV - alone_TV).abs().max() / alone_TV.std()) <= tolerance(model)
