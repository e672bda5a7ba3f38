"""Paired bootstrap: small cases that can be known, and how often the interval holds the truth."""

import random
from collections.abc import Sequence

import pytest

from mixsd.evaluation.statistics import Score, compare


def score_of(base: Sequence[float], adapter: Sequence[float], confidence: float = 0.95) -> Score:
    return compare("recall", "accuracy", base, adapter, resamples=4000, confidence=confidence)


def test_nothing_asked_is_no_figure() -> None:
    assert score_of([], []) == Score("recall", "accuracy", 0, None, None, None, None, None)


@pytest.mark.parametrize(
    ("base", "adapter", "difference", "low", "high"),
    [
        ([0.0], [1.0], 1.0, 1.0, 1.0),
        ([1.0], [0.0], -1.0, -1.0, -1.0),
        ([0.0] * 20, [1.0] * 20, 1.0, 1.0, 1.0),
        ([1.0, 0.0] * 9, [1.0, 0.0] * 9, 0.0, 0.0, 0.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0, -1.0, 1.0),
        ([0.5, 2.5, 1.0], [1.5, 3.5, 2.0], 1.0, 1.0, 1.0),  # each item by itself moves by one
    ],
)
def test_small_cases(
    base: list[float], adapter: list[float], difference: float, low: float, high: float
) -> None:
    score = score_of(base, adapter)

    assert (score.n, score.difference, score.low, score.high) == (len(base), difference, low, high)
    assert score.base == sum(base) / len(base)
    assert score.adapter == sum(adapter) / len(adapter)


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    score = score_of([0.0] * 100, [1.0] * 20 + [0.0] * 80, confidence=0.95)

    assert score.low == pytest.approx(0.12, abs=0.011)  # 2.5 % and 97.5 % points of Binomial(100, 0.2)
    assert score.high == pytest.approx(0.28, abs=0.011)


def test_more_confidence_is_a_wider_interval_and_the_same_numbers_give_the_same_one() -> None:
    base, adapter = [0.0] * 50, [1.0, 0.0] * 25

    wide, narrow = score_of(base, adapter, 0.99), score_of(base, adapter, 0.5)

    assert wide == score_of(base, adapter, 0.99)
    assert (wide.low or 0) < (narrow.low or 0) < 0.5 < (narrow.high or 0) < (wide.high or 0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    dice = random.Random(11)  # noqa: S311  samples, not secrets
    held = 0

    for _ in range(200):
        base = [dice.gauss(0, 1) for _ in range(60)]
        adapter = [value + dice.gauss(0.3, 1) for value in base]
        score = compare("x", "y", base, adapter, resamples=500, confidence=0.9)
        held += (score.low or 0) <= 0.3 <= (score.high or 0)

    assert 165 <= held <= 193


def test_a_score_is_plain_data() -> None:
    assert score_of([0.0], [1.0]).to_json() == {
        "suite": "recall",
        "metric": "accuracy",
        "n": 1,
        "base": 0.0,
        "adapter": 1.0,
        "difference": 1.0,
        "low": 1.0,
        "high": 1.0,
    }
