"""The loss: NLL of the target tokens, and of nothing else."""

import torch
from torch import Tensor

from mixsd.training.batches import Batch


def summed_nll(logits_BKV: Tensor, batch: Batch) -> Tensor:
    """Return the summed loss of the scored tokens, in nats.

    Args:
        logits_BKV: Scores of each of the last K + 1 columns; those of a column judge the next one.
        batch: What was fed.
    """
    wide = batch.scored_BK.shape[1]
    predicted_NV = logits_BKV[:, -wide - 1 : -1][batch.scored_BK].float()
    tokens_N = batch.ids_BT[:, -wide:][batch.scored_BK]
    return torch.nn.functional.cross_entropy(predicted_NV, tokens_N, reduction="sum")
