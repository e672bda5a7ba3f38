"""What a forward pass costs, and which guesses are worth that."""

import pytest

from mixsd.decoding.cost import CostModel, FixedCost, least_chance


def test_nothing_pays_before_passes_of_different_sizes_were_seen() -> None:
    cost = CostModel()
    assert least_chance(cost, 32, 16, [(0.9, 1)]) is None
    for _ in range(50):
        cost.learn(32, 0.1)
    assert cost.seconds(32) == pytest.approx(0.1)
    assert cost.seconds(33) is None
    assert least_chance(cost, 32, 16, [(0.9, 1)]) is None


def test_a_guess_is_taken_where_it_gives_more_tokens_a_second() -> None:
    # 2 row tokens in 1.2 s without guesses. A guess of 1 row token costs 0.1 s more: 1 in 12.
    cost = FixedCost(1.0, 0.1)

    assert least_chance(cost, 2, 1, [(0.2, 1)]) == 0.2
    assert least_chance(cost, 2, 1, [(0.08, 1)]) is None
    assert least_chance(cost, 2, 1, [(0.9, 1), (0.5, 1), (0.01, 1)]) == 0.5
    assert least_chance(cost, 2, 1, [(0.2, 4)]) is None
    assert least_chance(cost, 2, 1, []) is None
    assert least_chance(cost, 0, 0, [(0.9, 1)]) is None


def test_guesses_that_pay_together_are_taken_though_none_pays_alone() -> None:
    """Three rows cost far more than two, but ten no more than three."""
    cost = CostModel()
    for tokens, seconds in ((2, 1.0), (3, 2.0), (10, 2.0)):
        cost.learn(tokens, seconds)

    assert least_chance(cost, 2, 1, [(0.9, 1)]) is None
    assert least_chance(cost, 2, 1, [(0.9, 1), (0.8, 1), (0.01, 90)]) == 0.8


def test_the_cost_is_learned_in_spite_of_a_few_slow_passes() -> None:
    cost = CostModel()
    for place in range(160):
        tokens = (16, 48)[place % 2]
        cost.learn(tokens, 0.1 + 0.005 * tokens if place % 4 < 3 or place < 150 else 30.0)

    assert cost.seconds(32) == pytest.approx(0.26)


def test_steps_of_the_cost_are_kept_and_it_never_falls() -> None:
    cost = CostModel()
    for tokens, seconds in ((2, 30.0), (3, 32.0), (4, 45.0), (6, 43.0), (16, 60.0)):
        cost.learn(tokens, seconds)

    assert [cost.seconds(tokens) for tokens in (1, 2, 3, 4, 5, 6)] == [30.0, 30.0, 32.0, 45.0, 45.0, 45.0]
    assert cost.seconds(11) == pytest.approx(52.5)
    assert cost.seconds(30) == pytest.approx(90.0)


def test_large_passes_are_told_apart_by_their_scale_alone() -> None:
    cost = CostModel()
    for tokens in range(65, 5_000):
        cost.learn(tokens, tokens / 1_000)

    assert len(cost._seen) < 10  # noqa: SLF001  bounded whatever passes there are
    assert cost.seconds(1_024) == pytest.approx(1.024)


def test_the_cost_follows_a_machine_that_becomes_slower() -> None:
    cost = CostModel()
    for fixed in (0.1, 0.4):
        for place in range(100):
            tokens = 16 + 8 * (place % 5)
            cost.learn(tokens, fixed + 0.005 * tokens)

    assert cost.seconds(32) == pytest.approx(0.4 + 0.16)
