"""Rows of a batch that one model continues, token by token, with a key-value cache.

Rows are padded on the left, with explicit positions, so that the last column is always the last
token of every row. Knows nothing of facts, prompts or tokenization.
"""

import copy
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

LanguageModel: TypeAlias = PreTrainedModel | PeftModel
"""A base model, alone or with an adapter on it: they are asked in the same way."""


class Rows:
    """A batch under way.

    `logits_RV` are the scores of each row's next token; `read_tokens` counts those that `prefill`
    fed to the model, without padding.
    """

    def __init__(self, model: LanguageModel, cache: Any, mask_RT: Tensor, logits_RV: Tensor) -> None:
        self._model = model
        self._cache = cache
        self._mask_RT = mask_RT
        self.logits_RV = logits_RV
        self.read_tokens = 0

    @classmethod
    @torch.inference_mode()
    def prefill(cls, model: LanguageModel, prompts: Sequence[Sequence[int]], *, pad_id: int) -> "Rows":
        """Read the prompts, each at least one token long.

        What all of them begin with, such as the header of the chat, is read once. The padding
        then stands between that and the rest of each prompt, where it is masked all the same.
        """
        cache = DynamicCache(config=model.config)
        shared = shared_prefix(model, prompts)
        if shared:
            ids_1T = torch.tensor([list(prompts[0][:shared])], device=model.device)
            model(input_ids=ids_1T, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(prompts))
        rests = [list(prompt[shared:]) for prompt in prompts]
        width = max(map(len, rests))
        ids = [[pad_id] * (width - len(rest)) + rest for rest in rests]
        mask = [[1] * shared + [0] * (width - len(rest)) + [1] * len(rest) for rest in rests]
        mask_RT = torch.tensor(mask, device=model.device)
        rows = cls(model, cache, mask_RT, torch.empty(0))
        positions_RT = (mask_RT.cumsum(-1) - 1).clamp(min=0)[:, shared:]
        rows._forward(torch.tensor(ids, device=model.device), positions_RT=positions_RT)
        rows.read_tokens = shared + sum(map(len, rests))
        return rows

    def __len__(self) -> int:
        return len(self._mask_RT)

    @torch.inference_mode()
    def select(self, indices: Sequence[int]) -> "Rows":
        """Return a copy that holds these rows, in this order; one may be taken twice."""
        chosen = torch.tensor(list(indices), device=self._mask_RT.device)
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        cache.batch_select_indices(chosen)
        return Rows(self._model, cache, self._mask_RT[chosen], self.logits_RV[chosen])

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> None:
        """Append one token to each row."""
        ids_R1 = torch.tensor(tokens, device=self._mask_RT.device)[:, None]
        self._mask_RT = torch.cat([self._mask_RT, torch.ones_like(ids_R1)], dim=-1)
        self._forward(ids_R1, positions_RT=self._mask_RT.sum(-1, keepdim=True) - 1)

    def _forward(self, ids_RT: Tensor, *, positions_RT: Tensor) -> None:
        output = self._model(
            input_ids=ids_RT,
            attention_mask=self._mask_RT,
            position_ids=positions_RT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits_RV = output.logits[:, -1].float()


def shared_prefix(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens may be read once for all prompts: those that all of them begin with.

    At least one token of each prompt is left. None may be shared where a layer looks back only a
    number of columns, since padding would then stand between.
    """
    layers = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]
    if len(prompts) < 2 or any(kind != "full_attention" for kind in layers):
        return 0
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    limit = min(len(prompt) for prompt in prompts) - 1
    for place in range(limit):
        if first[place] != last[place]:
            return place
    return limit


@torch.inference_mode()
def logits_alone(model: LanguageModel, tokens: Sequence[int], *, last: int = 1) -> Tensor:
    """Return the scores behind each of the `last` tokens of one sequence, [last, V], in float32.

    One row, no cache, no padding: the reference that everything else is measured by.
    """
    ids_1T = torch.tensor([list(tokens)], device=model.device)
    logits_1TV = model(input_ids=ids_1T, use_cache=False, logits_to_keep=last).logits
    result: Tensor = logits_1TV[0].float()
    return result
