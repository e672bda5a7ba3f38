"""What the engine is compared with: other ways of decoding the same texts, each written plainly.

All take texts with the same cap, ignore stop tokens, and write to `text.tokens` what they choose at
temperature 0. But for `generate`, which knows the expert alone, they sample the law of the engine
with the same coins, so their tokens are those of the engine, near ties apart.

Axes: B texts, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList

from mixsd.decoding.flat import FlatRows
from mixsd.decoding.rng import is_naive
from mixsd.decoding.rows import LanguageModel, Want
from mixsd.decoding.text import Text

BLOCK: Final = 16
"""Tokens of a block of the prefix cache that `blocks` emulates."""


def left_padded(lists: Sequence[Sequence[int]], model: LanguageModel) -> tuple[Tensor, Tensor]:
    """Return token ids and mask, [B, T]. Padding is token 0, which nothing looks at."""
    longest = max(map(len, lists))
    ids = [[0] * (longest - len(tokens)) + list(tokens) for tokens in lists]
    mask = [[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in lists]
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)


def generate(model: LanguageModel, texts: Sequence[Text]) -> float:
    """Decode one batch from the expert prompts with transformers' own `generate`.

    Left-padded, its default cache, greedy, exactly `cap` tokens each.

    Returns:
        Seconds from the first token to the last: without the prompts.
    """
    ids_BT, mask_BT = left_padded([text.prompts.expert for text in texts], model)
    first = _FirstToken()
    output_BT = model.generate(  # type: ignore[operator]
        input_ids=ids_BT,
        attention_mask=mask_BT,
        do_sample=False,
        min_new_tokens=texts[0].cap,
        max_new_tokens=texts[0].cap,
        pad_token_id=0,
        past_key_values=DynamicCache(config=model.config),
        stopping_criteria=StoppingCriteriaList([first]),
    )
    written = output_BT[:, ids_BT.shape[1] :].tolist()
    seconds = perf_counter() - first.at
    for text, tokens in zip(texts, written, strict=True):
        text.tokens = tokens
    return seconds


class _FirstToken(StoppingCriteria):
    """Stops nothing; notes when the first token was there."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Any:
        self.at = self.at or perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class _Cached:
    """A batch under one conditional, with transformers' own cache."""

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._cache: Any = DynamicCache(config=model.config)
        ids_BT, self._mask_BT = left_padded(prompts, model)
        self._positions_BT = (self._mask_BT.cumsum(-1) - 1).clamp(min=0)
        self.logits_BV = self._call(ids_BT)

    def feed(self, tokens_B1: Tensor) -> None:
        self._mask_BT = torch.cat([self._mask_BT, torch.ones_like(tokens_B1)], dim=-1)
        self._positions_BT = self._positions_BT[:, -1:] + 1
        self.logits_BV = self._call(tokens_B1)

    def _call(self, ids_BT: Tensor) -> Tensor:
        output = self._model(
            input_ids=ids_BT,
            attention_mask=self._mask_BT,
            position_ids=self._positions_BT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV


@torch.inference_mode()
def two_calls(model: LanguageModel, texts: Sequence[Text]) -> None:
    """Decode one batch with two calls of the model for each token, one for each conditional.

    As classifier-free guidance does in transformers: two caches, two batches of B left-padded
    rows. A coin of each text says whose scores are taken.
    """
    expert = _Cached(model, [text.prompts.expert for text in texts])
    naive = _Cached(model, [text.prompts.naive or () for text in texts])
    for place in range(texts[0].cap):
        coins_B1 = torch.tensor([[_coin(text, place)] for text in texts], device=model.device)
        tokens_B1 = torch.where(coins_B1, naive.logits_BV, expert.logits_BV).argmax(-1, keepdim=True)
        for text, (token,) in zip(texts, tokens_B1.tolist(), strict=True):
            text.tokens.append(token)
        if place + 1 < texts[0].cap:
            expert.feed(tokens_B1)
            naive.feed(tokens_B1)


@torch.inference_mode()
def stateless(
    model: LanguageModel, texts: Sequence[Text], given: Sequence[Sequence[int]], places: Sequence[int]
) -> None:
    """Choose the tokens at some places of texts that are known, keeping nothing between them.

    What a loop without a cache does for each token: all texts in one left-padded batch, of each
    the whole prefix under the conditional that was picked, one forward pass. Scores are computed
    for the last position alone, which favours it. The cost of a place grows linearly with it, so
    evenly spread places tell what all of them take.

    Args:
        model: The model.
        texts: Where the chosen tokens are written.
        given: The tokens of each text, of which those before a place are its prefix.
        places: Counted from 0.
    """
    for place in places:
        prefixes = [
            [*text.prompts.sides[_coin(text, place)], *tokens[:place]]
            for text, tokens in zip(texts, given, strict=True)
        ]
        ids_BT, mask_BT = left_padded(prefixes, model)
        logits_B1V = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=1,
        ).logits
        for text, token in zip(texts, logits_B1V[:, -1].argmax(-1).tolist(), strict=True):
            text.tokens.append(token)


class Blocks:
    """What the public code of the paper costs, without what its requests cost besides.

    It asks a server for one token at a time under the conditional that was picked. The server
    keeps keys and values in full blocks of 16 tokens, so each time the picked row is read again
    from its last full block on, with all that was written since it was picked last. Beginnings
    that prompts share are shared by the block too.

    Done here on the rows of the engine: one forward pass a token for all texts, picked rows alone.
    Rows that are fed at once share their beginning to the token, which favours it.

    Attributes:
        row_tokens: Tokens that were computed, prompts included.
    """

    def __init__(self, model: LanguageModel, slots: int) -> None:
        self._rows = FlatRows(model, 2 * slots)
        self.row_tokens = 0

    def read(self, texts: Sequence[Text]) -> None:
        """Read both prompts of each text. Left out, each is read when its row is first picked."""
        sides = [(2 * place + side, text, side) for place, text in enumerate(texts) for side in (0, 1)]
        self._feed([Want(row, list(text.prompts.sides[side])) for row, text, side in sides])

    def decode(self, texts: Sequence[Text]) -> None:
        """Decode a batch of at most `slots` texts. What is kept of earlier ones is used."""
        for position in range(texts[0].cap):
            wants = []
            for place, text in enumerate(texts):
                side = _coin(text, position)
                wants.append(Want(2 * place + side, [*text.prompts.sides[side], *text.tokens]))
            self._feed(wants)
            scores_BV = self._rows.scores([(want.row, len(want.tokens) - 1) for want in wants])
            for text, token in zip(texts, scores_BV.argmax(-1).tolist(), strict=True):
                text.tokens.append(token)

    def _feed(self, wants: Sequence[Want]) -> None:
        contents = self._rows.contents
        for want in wants:
            self._rows.seat(want.row, want.tokens)
            full = min(len(contents[want.row]), len(want.tokens) - 1) // BLOCK * BLOCK
            self._rows.trim(want.row, full)
        while any(len(contents[want.row]) < len(want.tokens) for want in wants):
            fed = self._rows.feed(wants, budget=4096, chunk=512)
            self.row_tokens += sum(span.stop - span.start for span in fed)


def _coin(text: Text, position: int) -> bool:
    return is_naive(text.draw, position, lam=text.lam)
