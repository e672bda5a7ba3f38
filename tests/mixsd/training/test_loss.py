"""The loss by hand, and scores that are never all in memory."""

import pytest
import torch
from torch import Tensor, nn

from mixsd.training import loss
from mixsd.training.batches import Example, weight_of
from mixsd.training.loss import head_loss, judged_by
from tests.mixsd.training.driving import a_weighted_batch, soft

WIDE = 384


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def a_head() -> nn.Linear:
    head = nn.Linear(6, WIDE, dtype=torch.float64).requires_grad_(requires_grad=False)
    head.weight.copy_(random(WIDE, 6, seed=1))
    head.bias.copy_(random(WIDE, seed=2))
    return head


def places(examples: list[Example]) -> list[list[int]]:
    """Places that judge them: several examples share some, and none is in order."""
    return [
        [(7 * place + 3 * number) % 31 for place in range(len(e.target))] for number, e in enumerate(examples)
    ]


def slowly(logits_NV: Tensor, examples: list[Example], paths: list[list[int]]) -> Tensor:
    """Sum up token by token."""
    total = logits_NV.new_zeros(())
    for example, path in zip(examples, paths, strict=True):
        for offset, place in enumerate(path):
            logprobs_V = logits_NV[place].log_softmax(-1)
            if example.soft is None:
                total = total - example.weight * logprobs_V[example.target[offset]]
                continue
            ids_K, stored_K = example.soft.ids_TK[offset], example.soft.logprobs_TK[offset].double()
            own_K = logits_NV[place][ids_K].log_softmax(-1)
            total = (
                total
                + example.weight
                * {
                    "forward": (stored_K.exp() * (stored_K - own_K)).sum(),
                    "reverse": (own_K.exp() * (own_K - stored_K)).sum(),
                    "nll": -(stored_K.exp() * logprobs_V[ids_K]).sum(),
                }[example.soft.kind]
            )
    return total


def test_each_target_token_is_judged_by_the_place_before_it() -> None:
    example = Example((3, 7), (1, 4))
    certain_NV = torch.full((3, 8), -1e4)
    certain_NV[1, 1] = certain_NV[2, 4] = 0.0

    judged = judged_by([example], [list(example.judges)])

    assert example.read == (3, 7, 1)
    assert judged.places_J.tolist() == [1, 2]
    assert judged.loss(certain_NV[1:]).item() == pytest.approx(0.0)
    certain_NV[1, 5] = 0.0  # as likely as the right one
    assert judged.loss(certain_NV[1:]).item() == pytest.approx(0.6931, abs=1e-4)


def test_a_mean_counts_tokens_by_their_weight() -> None:
    assert weight_of([Example((1,), (2, 3), weight=0.5), Example((1,), (2, 3, 4), weight=2.0)]) == 7.0


@pytest.mark.parametrize("tile", [1, 3 * WIDE, 1 << 20])
def test_scores_in_tiles_give_loss_and_gradient_of_scores_at_once(
    monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    monkeypatch.setitem(loss._TILE, "cpu", tile)  # noqa: SLF001
    examples = a_weighted_batch()
    paths, head = places(examples), a_head()
    states = [random(31, 6).requires_grad_() for _ in range(2)]

    judged = judged_by(examples, paths)
    found = head_loss(head, states[0][judged.places_J], judged)
    wanted = slowly(head(states[1]), examples, paths)
    (2 * found).backward()  # type: ignore[no-untyped-call]
    (2 * wanted).backward()  # type: ignore[no-untyped-call]

    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    assert states[0].grad is not None
    assert states[1].grad is not None
    assert torch.allclose(states[0].grad, states[1].grad, rtol=1e-9, atol=1e-12)


def test_no_more_than_a_tile_of_scores_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss._TILE, "cpu", 4 * WIDE)  # noqa: SLF001
    head, seen = a_head(), []
    head.register_forward_hook(lambda *call: seen.append(len(call[2])))
    examples = a_weighted_batch()
    judged = judged_by(examples, places(examples))

    head_loss(head, random(len(judged.places_J), 6).requires_grad_(), judged)

    assert max(seen) == 4
    assert sum(seen) == len(judged.places_J), "each place is scored once, though several tokens ask for it"


def test_a_head_that_is_trained_gets_its_gradient_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss._TILE, "cpu", 5 * WIDE)  # noqa: SLF001
    examples = a_weighted_batch()
    paths, heads = places(examples), [a_head().requires_grad_() for _ in range(2)]
    hidden_ND = random(31, 6)

    judged = judged_by(examples, paths)
    head_loss(heads[0], hidden_ND[judged.places_J], judged).backward()  # type: ignore[no-untyped-call]
    slowly(heads[1](hidden_ND), examples, paths).backward()  # type: ignore[no-untyped-call]

    for found, wanted in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        assert torch.allclose(found.grad, wanted.grad, rtol=1e-9, atol=1e-12)


def test_without_gradients_it_is_the_same_loss() -> None:
    examples = a_weighted_batch()
    judged = judged_by(examples, places(examples))
    hidden_JD = random(len(judged.places_J), 6)

    with torch.no_grad():
        bare = head_loss(a_head(), hidden_JD, judged)

    assert bare.item() == pytest.approx(
        head_loss(a_head(), hidden_JD.requires_grad_(), judged).item(), rel=1e-12
    )


def test_soft_targets_with_other_numbers_of_candidates_lie_side_by_side() -> None:
    examples = [Example((1,), (2, 3), soft=soft(2, 5, candidates=count)) for count in (2, 4)]
    logits_NV = random(4, WIDE)
    paths = [[0, 1], [2, 3]]

    found = judged_by(examples, paths).loss(logits_NV)

    assert found.item() == pytest.approx(slowly(logits_NV, examples, paths).item(), rel=1e-9)
