"""Coins and noise belong to a key, and a choice is a function of scores and key alone."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from mixsd.decoding.choice import candidates, choose, choose_from
from mixsd.decoding.rng import Draw, gumbel, is_naive, uniform

PICK = 0.22603366747191794
NOISE = 0.3260052346254071


def a_draw(fact_key: str = "capital", attempt: int = 0, seed: int = 0) -> Draw:
    return Draw(seed=seed, fact_key=fact_key, generation=0, attempt=attempt)


def test_lam_is_the_share_of_naive_tokens() -> None:
    naive = sum(is_naive(a_draw(), position, lam=0.3) for position in range(20_000))

    # Four standard deviations of a binomial share: 4 * sqrt(0.3 * 0.7 / 20_000) = 0.013.
    assert naive / 20_000 == pytest.approx(0.3, abs=0.013)


def test_raising_lam_only_turns_expert_tokens_into_naive_ones() -> None:
    for low, high in itertools.pairwise([0.0, 0.2, 0.5, 0.9, 1.0]):
        for position in range(500):
            assert is_naive(a_draw(), position, lam=low) <= is_naive(a_draw(), position, lam=high)


def test_the_key_is_a_format() -> None:
    """If this must change, every target changes with it: raise LAW_VERSION and say so."""
    picks = [is_naive(a_draw(), position, lam=0.5) for position in range(24)]

    assert "".join("en"[naive] for naive in picks) == "ennnnneennennneeneennnne"
    assert uniform(a_draw(), "pick", 3) == pytest.approx(PICK, abs=1e-15)
    assert gumbel(a_draw(), 3, [17, 0])[0] == pytest.approx(NOISE, abs=1e-12)


def test_among_equals_the_lowest_id_wins_and_has_no_margin() -> None:
    choice = choose_from(torch.tensor([1.0, 5.0, 5.0, 2.0]), a_draw(), 0, temperature=0.0, top_k=64)

    assert (choice.token_id, choice.margin) == (1, 0.0)


def test_a_draw_is_a_sample_of_the_truncated_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    count = 4000

    seen = Counter(
        choose_from(logits, a_draw(seed=seed), 0, temperature=1.0, top_k=3).token_id for seed in range(count)
    )

    law = logits[:3].softmax(-1).tolist()
    assert seen[3] == 0
    for token_id, share in enumerate(law):
        # Four standard deviations of a binomial share.
        assert seen[token_id] / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


@pytest.mark.parametrize(("top_k", "top_p", "kept"), [(4, 0.7, 2), (4, 0.6, 1), (3, 0.95, 3), (9, 0.95, 3)])
def test_a_draw_by_top_p_is_a_sample_of_the_fewest_likeliest_with_that_share(
    top_k: int, top_p: float, kept: int
) -> None:
    """Shares of the four are 0.64, 0.24, 0.09 and 0.03; of the first three alone 0.67, 0.24 and 0.09."""
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0])
    law = logits.sort(descending=True).values[:kept].softmax(-1).tolist()
    count = 2000

    seen = Counter(
        choose_from(logits, a_draw(seed=seed), 0, temperature=1.0, top_k=top_k, top_p=top_p).token_id
        for seed in range(count)
    )

    assert set(seen) == set([1, 2, 0][:kept])
    for token_id, share in zip([1, 2, 0], law, strict=False):
        # Four standard deviations of a binomial share.
        assert seen[token_id] / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


def test_a_margin_holds_for_the_edge_of_top_p_too() -> None:
    dice = torch.Generator().manual_seed(4)
    near = 0
    for seed in range(400):
        logits = torch.randn(12, generator=dice)
        choice = choose_from(logits, a_draw(seed=seed), 0, temperature=0.8, top_k=10, top_p=0.8)
        shift = (torch.rand(12, generator=dice) - 0.5) * min(choice.margin, 5.0) * 0.8 * 0.99
        moved = choose_from(logits + shift, a_draw(seed=seed), 0, temperature=0.8, top_k=10, top_p=0.8)
        whole = choose_from(logits, a_draw(seed=seed), 0, temperature=0.8, top_k=10)

        assert moved.token_id == choice.token_id
        near += whole.token_id != choice.token_id
    assert near > 10  # it does leave tokens out that would have been drawn


def test_equals_at_the_edge_of_top_p_stay_in_and_have_no_margin() -> None:
    seen = {
        choose_from(torch.tensor([1.0, 1.0, -9.0]), a_draw(seed=seed), 0, temperature=1.0, top_k=3, top_p=0.3)
        for seed in range(40)
    }

    assert {choice.token_id for choice in seen} == {0, 1}
    assert {choice.margin for choice in seen} == {0.0}


def test_with_no_token_left_out_draws_follow_the_whole_law_and_its_noise() -> None:
    dice = torch.Generator().manual_seed(5)
    for seed in range(100):
        logits = torch.randn(12, generator=dice)

        choice = choose_from(logits, a_draw(seed=seed), 2, temperature=0.9, top_k=1 << 30)

        totals = np.sort((logits / 0.9).double().numpy() + gumbel(a_draw(seed=seed), 2, tuple(range(12))))
        chosen = float(logits[choice.token_id]) / 0.9 + gumbel(a_draw(seed=seed), 2, [choice.token_id])[0]
        assert chosen == pytest.approx(totals[-1], rel=1e-6)
        assert choice.margin == pytest.approx(totals[-1] - totals[-2], rel=1e-6)
    assert choose_from(torch.tensor([3.0]), a_draw(), 0, temperature=1.0, top_k=9).margin == float("inf")


def test_a_margin_is_what_the_scores_may_move_without_changing_the_token() -> None:
    dice = torch.Generator().manual_seed(3)
    for seed in range(200):
        logits = torch.randn(20, generator=dice)
        choice = choose_from(logits, a_draw(seed=seed), 0, temperature=0.8, top_k=6)
        shift = (torch.rand(20, generator=dice) - 0.5) * min(choice.margin, 5.0) * 0.8 * 0.99
        moved = choose_from(logits + shift, a_draw(seed=seed), 0, temperature=0.8, top_k=6)

        assert moved.token_id == choice.token_id


def test_noise_is_gumbel_and_that_of_different_keys_is_independent() -> None:
    noise = np.stack([gumbel(a_draw(attempt=attempt), attempt % 7, range(50)) for attempt in range(400)])
    uniforms = np.sort(np.exp(-np.exp(-noise)).ravel())

    # Kolmogorov and Smirnov's distance, at far less than one in a thousand.
    steps = np.arange(1, len(uniforms) + 1) / len(uniforms)
    assert np.abs(uniforms - steps).max() < 2.2 / len(uniforms) ** 0.5
    of_tokens = np.corrcoef(noise.T) - np.eye(50)
    assert np.abs(of_tokens).max() < 5 / 400**0.5
    other = gumbel(a_draw(), 0, range(50), purpose="guard")
    assert abs(np.corrcoef(noise[0], other)[0, 1]) < 5 / 50**0.5


def test_what_candidates_hold_is_enough_for_every_draw() -> None:
    logits_JV = torch.randn(5, 40, generator=torch.Generator().manual_seed(2))

    for found, logits_V in zip(candidates(logits_JV, temperature=0.7, top_k=4), logits_JV, strict=True):
        for attempt in range(50):
            draw = a_draw(attempt=attempt)
            alone = choose_from(logits_V, draw, 3, temperature=0.7, top_k=4)
            assert choose(found, draw, 3).token_id == alone.token_id


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_no_numbers_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="no number"):
        candidates(torch.full((1, 9), float("nan")), temperature=temperature, top_k=4)
