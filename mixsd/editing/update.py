"""The closed form: the smallest change of a layer that gives keys new values and leaves others be.

MEMIT (arXiv:2210.07229, section 4.1) takes the change D of a weight [O, I] that minimises

    sum over facts |D k - r|^2  +  lam * mean over general tokens |D k'|^2

for keys k (inputs of the layer at the facts' lookup tokens), residuals r (what its output lacks)
and the inputs k' of general text. With K [I, N] and R [O, N] as columns and C = E[k' k'^T] it is
D = R K^T (lam C + K K^T)^-1. Here facts are rows, as everywhere in torch.

D has no more rank than there are facts, so it is kept as two factors and never rounded to fewer.

Axes: N facts, I inputs and O outputs of a layer, R rank.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_FLOOR: Final = 1e-9
"""Of the mean diagonal: what is added to it, for inputs that no text has moved."""


@dataclass(frozen=True, slots=True)
class Factors:
    """A change of a weight as a product: `left_OR @ right_RI`, both of the same scale."""

    left_OR: Tensor
    right_RI: Tensor

    @property
    def dense(self) -> Tensor:
        return self.left_OR @ self.right_RI


def rank_of(facts: int, inputs: int, outputs: int) -> int:
    """Return the rank at which the change of a layer is exact."""
    return min(facts, inputs, outputs)


def spread_update(keys_NI: Tensor, residuals_NO: Tensor, covariance_II: Tensor, weight: float) -> Factors:
    """Return the change that gives the keys what they lack, exact but for rounding.

    Solved in float64. With fewer general tokens than inputs the
    covariance is singular: see `mixsd.editing.covariance.shrunk`, which makes it whole.

    Args:
        keys_NI: Inputs of the layer at the lookup tokens.
        residuals_NO: What its outputs lack there.
        covariance_II: Mean of the outer products of its inputs over general text.
        weight: How many general tokens that mean stands for, where each fact counts one.
    """
    device = torch.device("cpu") if keys_NI.device.type == "mps" else keys_NI.device  # which has no float64
    keys_NI, residuals_NO = (part.to(device).double() for part in (keys_NI, residuals_NO))
    normal_II = weight * covariance_II.to(keys_NI) + keys_NI.T @ keys_NI
    normal_II.diagonal().add_(_FLOOR * normal_II.diagonal().mean())
    solved_IN = torch.cholesky_solve(keys_NI.T, torch.linalg.cholesky(normal_II))
    return balanced(residuals_NO.T, solved_IN.T)


def balanced(left_ON: Tensor, right_NI: Tensor) -> Factors:
    """Return the same product with as few columns as it can have, evenly scaled on both sides.

    Of more facts than the layer has inputs or outputs, the product of the triangles of two QRs holds
    all there is, so the rank of the result is exact as well.
    """
    left_OP, triangle_PN = torch.linalg.qr(left_ON)
    right_IQ, triangle_QN = torch.linalg.qr(right_NI.T)
    turned_PR, sizes_R, turned_RQ = torch.linalg.svd(triangle_PN @ triangle_QN.T, full_matrices=False)
    scale_R = sizes_R.sqrt()
    return Factors((left_OP @ turned_PR) * scale_R, scale_R[:, None] * (turned_RQ @ right_IQ.T))
