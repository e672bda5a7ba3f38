"""The method without any machinery: what equality tests compare the engine with."""

import torch
from transformers import PreTrainedModel

from mixsd.decoding.choice import choose_from
from mixsd.decoding.rng import Draw, is_naive
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.text import Prompts, Sampling


@torch.inference_mode()
def decode_alone(
    model: PreTrainedModel, prompts: Prompts, draw: Draw, sampling: Sampling, *, lam: float, cap: int
) -> list[int]:
    """Return the text of one attempt: one sequence, every token from a full forward pass."""
    tokens: list[int] = []
    while len(tokens) < cap:
        naive = is_naive(draw, len(tokens), lam=lam)
        prompt = prompts.sides[naive]
        logits_V = logits_alone(model, [*prompt, *tokens])[0]
        choice = choose_from(
            logits_V,
            draw,
            len(tokens),
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
        )
        tokens.append(choice.token_id)
        if choice.token_id in sampling.stop_ids:
            break
    return tokens
