"""The loss of the target tokens, and of nothing else: NLL, or against soft targets."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mixsd.decoding.rows import LanguageModel, wide
from mixsd.training.batches import Batch
from mixsd.training.soft import Soft, soft_loss


def logits_of(model: LanguageModel, batch: Batch) -> Tensor:
    """Return the scores of the last K + 1 columns, with gradients, [B, K + 1, V].

    What the prompts share is read once; its keys and values are then those of every row, so its
    gradient is the sum over the rows, exactly as if each had read it.
    """
    rest: dict[str, Any] = {
        "input_ids": batch.ids_BT,
        "attention_mask": batch.mask_BHT,
        "position_ids": batch.positions_BT,
        "logits_to_keep": batch.scored_BK.shape[1] + 1,
        "use_cache": False,
    }
    if batch.shared_1H.shape[1]:
        cache = DynamicCache(config=model.config)
        model(input_ids=batch.shared_1H, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(batch.ids_BT))
        rest |= {"past_key_values": cache, "use_cache": True}
    logits: Tensor = model(**rest).logits
    return logits


def summed_loss(logits_BKV: Tensor, batch: Batch) -> Tensor:
    """Return the summed loss of the scored tokens, each with its weight, in nats.

    Args:
        logits_BKV: Scores of each of the last K + 1 columns; those of a column judge the next one.
        batch: What was fed.
    """
    columns = batch.scored_BK.shape[1]
    predicted_NV = wide(logits_BKV[:, -columns - 1 : -1][batch.scored_BK])
    tokens_N = batch.ids_BT[:, -columns:][batch.scored_BK]
    lengths = batch.scored_BK.sum(-1).tolist()
    parts = zip(torch.split(predicted_NV, lengths), torch.split(tokens_N, lengths), batch.softs, strict=True)
    losses = torch.stack([_summed(*part) for part in parts])
    return (losses * torch.tensor(batch.weights, dtype=losses.dtype, device=losses.device)).sum()


def _summed(predicted_NV: Tensor, tokens_N: Tensor, soft: Soft | None) -> Tensor:
    if soft is None:
        return torch.nn.functional.cross_entropy(predicted_NV, tokens_N, reduction="sum")
    ids_NK, logprobs_NK = (part.to(predicted_NV.device) for part in (soft.ids_TK, soft.logprobs_TK))
    return soft_loss(predicted_NV, ids_NK, logprobs_NK, kind=soft.kind).sum()
