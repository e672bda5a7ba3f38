"""Rows run one by one with the model's own means: slower, and right for every model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mixsd.decoding.rows import Fed, LanguageModel, Want, logits_alone, wide


class PlainRows:
    """Rows that are read from their beginning whenever they are scored, unless `cached`.

    See `mixsd.decoding.rows.Rows`. Cached rows go on from what the model's own cache holds, as
    long as their text only grows.
    """

    def __init__(self, model: LanguageModel, count: int, *, cached: bool) -> None:
        self._model = model
        self._cached = cached
        self.contents: list[list[int]] = [[] for _ in range(count)]
        self._read: list[tuple[list[int], Any, Tensor]] = [([], None, torch.empty(0))] * count
        self.copied = 0

    def seat(self, row: int, tokens: Sequence[int]) -> None:
        self.contents[row] = []

    def trim(self, row: int, length: int) -> None:
        del self.contents[row][length:]

    def feed(self, wants: Sequence[Want], *, budget: int, chunk: int) -> list[Fed]:
        del budget, chunk  # a row's tokens are read when it is scored
        fed = []
        for want in wants:
            held = len(self.contents[want.row])
            if held < len(want.tokens):
                fed.append(Fed(want.row, held, len(want.tokens)))
                self.contents[want.row] = want.tokens
        return fed

    @torch.inference_mode()
    def scores(self, places: Sequence[tuple[int, int]]) -> Tensor:
        return torch.stack([self._score(row, self.contents[row][: end + 1]) for row, end in places])

    def _score(self, row: int, tokens: list[int]) -> Tensor:
        if not self._cached:
            return logits_alone(self._model, tokens)[0]
        known, cache, logits_V = self._read[row]
        if known == tokens:
            return logits_V
        if cache is None or tokens[: len(known)] != known:
            known, cache = [], DynamicCache(config=self._model.config)
        ids_1T = torch.tensor([tokens[len(known) :]], device=self._model.device)
        output = self._model(input_ids=ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits_V = wide(output.logits[0, -1])
        self._read[row] = (list(tokens), output.past_key_values, logits_V)
        return logits_V
