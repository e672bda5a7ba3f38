"""The loss: NLL of the target tokens, and of nothing else."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mixsd.decoding.rows import LanguageModel
from mixsd.training.batches import Batch


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


def summed_nll(logits_BKV: Tensor, batch: Batch) -> Tensor:
    """Return the summed loss of the scored tokens, in nats.

    Args:
        logits_BKV: Scores of each of the last K + 1 columns; those of a column judge the next one.
        batch: What was fed.
    """
    wide = batch.scored_BK.shape[1]
    predicted_NV = logits_BKV[:, -wide - 1 : -1][batch.scored_BK]
    tokens_N = batch.ids_BT[:, -wide:][batch.scored_BK]
    wide_NV = predicted_NV.float() if predicted_NV.dtype in {torch.float16, torch.bfloat16} else predicted_NV
    return torch.nn.functional.cross_entropy(wide_NV, tokens_N, reduction="sum")
