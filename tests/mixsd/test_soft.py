"""Soft targets and their losses, by hand on three tokens."""

import math

import pytest
import torch
from torch import Tensor

from mixsd.training.soft import Kind, Soft, soft_loss, soft_targets

FROZEN_TV = torch.tensor([[0.0, 3.0, 1.0]]).log()  # a token that cannot come, 3/4, 1/4
MODEL_NV = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64).log()  # 1/2, 1/4, 1/4
KINDS: tuple[Kind, ...] = ("forward", "reverse", "nll")


def loss_of(logits_NV: Tensor, soft: Soft) -> Tensor:
    return soft_loss(logits_NV, soft.ids_TK, soft.logprobs_TK, kind=soft.kind)


def test_the_likeliest_tokens_are_kept_and_renormalised() -> None:
    soft = soft_targets(torch.tensor([[1.0, 3.0, 4.0], [4.0, 3.0, 1.0]]).log(), 2, "forward")

    assert soft.ids_TK.tolist() == [[2, 1], [0, 1]]
    assert soft.ids_TK.dtype == torch.int64
    assert soft.logprobs_TK.dtype == torch.float32
    assert soft.logprobs_TK.exp().flatten().tolist() == pytest.approx([4 / 7, 3 / 7] * 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Over tokens 1 and 2: frozen 3/4 and 1/4, model 1/2 and 1/2.
        ("forward", 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)),
        ("reverse", 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)),
        # Over the whole vocabulary the model gives either of them 1/4.
        ("nll", math.log(4)),
    ],
)
def test_the_loss_over_two_of_three_tokens_by_hand(kind: Kind, expected: float) -> None:
    loss_N = loss_of(MODEL_NV, soft_targets(FROZEN_TV, 2, kind))

    assert loss_N.shape == (1,)
    assert loss_N.item() == pytest.approx(expected, rel=1e-6)


def test_nll_with_one_candidate_is_that_of_the_likeliest_token() -> None:
    logits_NV = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frozen_TV = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))

    loss_N = loss_of(logits_NV, soft_targets(frozen_TV, 1, "nll"))

    wanted_N = torch.nn.functional.cross_entropy(logits_NV, frozen_TV.argmax(-1), reduction="none")
    assert torch.allclose(loss_N, wanted_N, rtol=1e-12)


@pytest.mark.parametrize("k", [5, 99])
def test_with_all_tokens_it_is_the_full_divergence(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits_NV = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    frozen_TV = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    p_TV, q_NV = frozen_TV.softmax(-1), logits_NV.softmax(-1)
    wanted = {
        "forward": (p_TV * (p_TV / q_NV).log()).sum(-1),
        "reverse": (q_NV * (q_NV / p_TV).log()).sum(-1),
        "nll": -(p_TV * q_NV.log()).sum(-1),
    }

    for kind in KINDS:
        loss_N = loss_of(logits_NV, soft_targets(frozen_TV, k, kind))
        assert torch.allclose(loss_N, wanted[kind], atol=1e-6)  # what is stored is float32


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: Kind) -> None:
    generator = torch.Generator().manual_seed(3)
    frozen_TV = torch.randn(3, 7, generator=generator)
    logits_NV = torch.randn(3, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    soft = soft_targets(frozen_TV, 4, kind)

    assert torch.autograd.gradcheck(lambda logits_NV: loss_of(logits_NV, soft), (logits_NV,))


@pytest.mark.parametrize("kind", ["forward", "reverse"])
def test_a_divergence_is_zero_without_gradient_where_both_agree(kind: Kind) -> None:
    logits_NV = torch.tensor([[0.5, 2.0, -1.0, 4.0]], requires_grad=True)

    loss_N = loss_of(logits_NV, soft_targets(logits_NV.detach() + 7.0, 3, kind))
    loss_N.sum().backward()  # type: ignore[no-untyped-call]

    assert loss_N.item() == pytest.approx(0.0, abs=1e-6)
    assert logits_NV.grad is not None
    assert logits_NV.grad.abs().max().item() < 1e-6


def test_tokens_that_are_not_stored_get_no_gradient_from_a_divergence_but_from_nll() -> None:
    gradients = {}
    for kind in KINDS:
        logits_NV = MODEL_NV.clone().requires_grad_()
        loss_of(logits_NV, soft_targets(FROZEN_TV, 2, kind)).sum().backward()  # type: ignore[no-untyped-call]
        assert logits_NV.grad is not None
        gradients[kind] = logits_NV.grad[0].tolist()

    assert gradients["forward"] == pytest.approx([0, 0.5 - 0.75, 0.5 - 0.25], abs=1e-6)  # q - p
    assert gradients["reverse"][0] == 0
    assert gradients["nll"] == pytest.approx([0.5, 0.25 - 0.75, 0.25 - 0.25], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_cannot_come_leaves_the_loss_a_number(kind: Kind) -> None:
    loss_N = loss_of(MODEL_NV, soft_targets(FROZEN_TV, 3, kind))

    assert torch.isfinite(loss_N).all()
    if kind == "forward":
        assert loss_N.item() == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1), rel=1e-6)


def test_half_precision_is_compared_in_float32() -> None:
    soft = soft_targets(FROZEN_TV.bfloat16(), 2, "forward")

    assert soft.logprobs_TK.dtype == torch.float32
    assert loss_of(MODEL_NV.bfloat16(), soft).dtype == torch.float32
