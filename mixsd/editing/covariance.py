"""What usually enters an edited layer: the mean outer product of its inputs over general text.

MEMIT takes that from a large corpus. Here no corpus is at hand, so the text is the model's own:
what it says to the prompts that replay is made of, sampled, together with the prompts. That
is the text whose answers should stay, and it needs no download.

Axes: N tokens, I inputs of a layer.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

import torch
from torch import Tensor

from mixsd.config import MAX_SEED, REPLAY_PROMPTS, RetentionConfig
from mixsd.decoding.suited import longest_text
from mixsd.editing.layers import EditedLayer, batches_of, padded, run_to, watched
from mixsd.models.load import Base
from mixsd.objectives.replay import replay_examples

ABOUT: Final = "both"
"""Which prompts, see `RetentionConfig`: open ones and short questions in turn."""
ANSWER_TOKENS: Final = 64
"""Cap of an answer to one of them."""
_TOGETHER: Final = 16
_TOKENS: Final = 2048
"""Texts, and tokens of them, that are read at once."""


def general_texts(
    base: Base, tokens: int, seed: int, *, on_check: Callable[[], None] = lambda: None
) -> list[tuple[int, ...]]:
    """Return so many tokens of prompts and sampled answers, the last text cut.

    Args:
        base: The base model, without an adapter on it.
        tokens: How many.
        seed: Names the draws.
        on_check: Called before every forward pass. May raise to stop.
    """
    prompts = min(REPLAY_PROMPTS, max(1, tokens // ANSWER_TOKENS))
    texts: list[tuple[int, ...]] = []
    turn = 0
    while (left := tokens - sum(map(len, texts))) > 0:
        config = RetentionConfig(
            "replay",
            about=ABOUT,
            prompts=prompts,
            max_new_tokens=ANSWER_TOKENS,
            temperature=1.0,
            seed=(seed + turn) % MAX_SEED,
        )
        for example in replay_examples(base, config, on_check=on_check):
            texts.append((*example.prompt, *example.target)[:left])
            left -= len(texts[-1])
            if left <= 0:
                break
        turn += 1
    return texts


@torch.no_grad()
def second_moments(
    base: Base,
    layers: Sequence[EditedLayer],
    texts: Sequence[Sequence[int]],
    *,
    on_check: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Return E[k k^T] of the inputs of each layer over all tokens of the texts, [I, I] in float32.

    They stay on the device of the model: 4 I^2 bytes for each layer.
    """
    model = base.model
    projections = [model.get_submodule(layer.path) for layer in layers]
    sums = [_zeros(module) for module in projections]
    last = model.get_submodule(layers[-1].block)
    kept_BT = torch.zeros(0)

    def add(place: int, inputs_BTI: Tensor, _: Tensor) -> None:
        keys_NI = inputs_BTI[kept_BT].float()
        sums[place] += keys_NI.T @ keys_NI

    batches = batches_of(
        [len(text) for text in texts], most=_TOGETHER, tokens=_TOKENS, alone=longest_text(model)
    )
    with ExitStack() as stack:
        for place, module in enumerate(projections):
            stack.enter_context(watched(module, partial(add, place)))
        for batch in batches:
            on_check()
            rows = [texts[place] for place in batch]
            ids_BT = padded(rows, base.chat.pad_id, model.device)
            lengths_B1 = torch.tensor([len(row) for row in rows], device=model.device)[:, None]
            kept_BT = torch.arange(ids_BT.shape[1], device=model.device) < lengths_B1
            run_to(model, last, ids_BT)
    count = sum(map(len, texts))
    return [total / count for total in sums]


def _zeros(module: torch.nn.Module) -> Tensor:
    width = int(module.in_features)  # type: ignore[arg-type]  # a linear layer
    return torch.zeros(width, width, device=next(module.parameters()).device)


def shrunk(moment_II: Tensor, tokens: int) -> Tensor:
    """Return a second moment without the certainty that so few tokens do not give, in float64.

    A mean over fewer tokens than the layer has inputs is singular: it would call every direction
    that no token took free to change. So it is mixed with its own diagonal, as if each input had
    been seen as often as there are inputs, by itself. The more tokens, the less of that.
    """
    width = len(moment_II)
    share = width / (width + tokens)
    moment_II = (moment_II.cpu() if moment_II.device.type == "mps" else moment_II).double()
    return (1 - share) * moment_II + share * torch.diag(moment_II.diagonal())
