"""The closed form on toy layers, against what it should be the smallest of."""

import pytest
import torch
from torch import Tensor

from mixsd.editing.covariance import shrunk
from mixsd.editing.update import balanced, rank_of, spread_update

INPUTS, OUTPUTS = 12, 8
WEIGHT = 3.0


def toy(facts: int, inputs: int = INPUTS, outputs: int = OUTPUTS) -> tuple[Tensor, Tensor, Tensor]:
    """Return keys, residuals and general inputs, in float64."""
    dice = torch.Generator().manual_seed(facts)
    shapes = ((facts, inputs), (facts, outputs), (40, inputs))
    keys_NI, residuals_NO, general_GI = (
        torch.randn(shape, generator=dice, dtype=torch.float64) for shape in shapes
    )
    return keys_NI, residuals_NO, general_GI


def moment_of(general_GI: Tensor) -> Tensor:
    return general_GI.T @ general_GI / len(general_GI)


def cost(change_OI: Tensor, keys_NI: Tensor, residuals_NO: Tensor, general_GI: Tensor) -> Tensor:
    missed = (keys_NI @ change_OI.T - residuals_NO).square().sum()
    moved = (general_GI @ change_OI.T).square().sum(-1).mean()
    return missed + WEIGHT * moved


@pytest.mark.parametrize("facts", [1, 5, 30])
def test_it_is_the_least_squares_solution_over_facts_and_general_tokens(facts: int) -> None:
    keys_NI, residuals_NO, general_GI = toy(facts)

    found = spread_update(keys_NI, residuals_NO, moment_of(general_GI), WEIGHT)

    # Each general token is a row that wants no change, each fact one that wants its residual.
    rows = torch.cat([keys_NI, general_GI * (WEIGHT / len(general_GI)) ** 0.5])
    wanted = torch.cat([residuals_NO, torch.zeros(len(general_GI), OUTPUTS, dtype=torch.float64)])
    assert torch.allclose(found.dense, torch.linalg.lstsq(rows, wanted).solution.T, atol=1e-7)


def test_no_other_change_costs_less() -> None:
    keys_NI, residuals_NO, general_GI = toy(5)
    found_OI = spread_update(keys_NI, residuals_NO, moment_of(general_GI), WEIGHT).dense
    least = cost(found_OI, keys_NI, residuals_NO, general_GI)

    leaf_OI = found_OI.clone().requires_grad_()
    slope_OI = torch.autograd.grad(cost(leaf_OI, keys_NI, residuals_NO, general_GI), leaf_OI)[0]

    assert slope_OI.abs().max() < 1e-6
    for step in range(OUTPUTS * INPUTS):
        other_OI = found_OI.clone()
        other_OI.view(-1)[step] += 1e-3
        assert cost(other_OI, keys_NI, residuals_NO, general_GI) > least


def test_a_small_weight_gives_the_keys_all_they_lack_and_a_large_one_nothing() -> None:
    keys_NI, residuals_NO, general_GI = toy(5)
    moment_II = moment_of(general_GI)

    all_of_it = spread_update(keys_NI, residuals_NO, moment_II, 1e-6).dense
    nothing = spread_update(keys_NI, residuals_NO, moment_II, 1e9).dense

    assert torch.allclose(keys_NI @ all_of_it.T, residuals_NO, atol=1e-4)
    assert nothing.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("facts", "inputs", "outputs"), [(1, 12, 8), (5, 12, 8), (30, 12, 8), (10, 8, 12), (30, 8, 12)]
)
def test_the_factors_are_the_whole_change_at_the_rank_it_has(facts: int, inputs: int, outputs: int) -> None:
    keys_NI, residuals_NO, general_GI = toy(facts, inputs, outputs)
    moment_II = moment_of(general_GI)

    found = spread_update(keys_NI, residuals_NO, moment_II, WEIGHT)

    dense_OI = residuals_NO.T @ keys_NI @ torch.linalg.inv(WEIGHT * moment_II + keys_NI.T @ keys_NI)
    rank = min(facts, inputs, outputs)
    assert found.left_OR.shape == (outputs, rank)
    assert found.right_RI.shape == (rank, inputs)
    assert rank_of(facts, inputs, outputs) == rank
    in_float32 = found.left_OR.float() @ found.right_RI.float()
    assert (in_float32 - dense_OI).abs().max() < 1e-6 * max(1.0, float(dense_OI.abs().max()))
    assert torch.allclose(found.dense, dense_OI, atol=1e-7)


def test_both_factors_have_the_same_scale() -> None:
    found = balanced(torch.full((3, 1), 1e6), torch.full((1, 4), 1e-3))

    assert torch.allclose(found.left_OR.norm(), found.right_RI.norm())
    assert torch.allclose(found.dense, torch.full((3, 4), 1e3), rtol=1e-5)


def test_fewer_general_tokens_than_inputs_still_weigh_every_direction() -> None:
    few_GI = toy(1)[2][:3]
    moment_II = moment_of(few_GI)
    assert torch.linalg.matrix_rank(moment_II) == 3

    whole_II = shrunk(moment_II, tokens=3)

    assert torch.allclose(whole_II.diagonal(), moment_II.diagonal())
    assert torch.linalg.matrix_rank(whole_II) == INPUTS
    off_II = whole_II - torch.diag(whole_II.diagonal())
    assert torch.allclose(off_II, (moment_II - torch.diag(moment_II.diagonal())) * 3 / (3 + INPUTS))


def test_an_input_that_no_text_has_moved_is_no_reason_to_fail() -> None:
    keys_NI, residuals_NO, general_GI = toy(2)
    keys_NI[:, 0] = general_GI[:, 0] = 0

    found = spread_update(keys_NI, residuals_NO, moment_of(general_GI), WEIGHT)

    assert found.dense.isfinite().all()
    assert found.dense[:, 0].abs().max() < 1e-6
