"""Paired bootstrap: small cases that can be known, and how often the interval holds the truth."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from mixsd.evaluation.intervals import bootstrap
from mixsd.evaluation.score import Score
from mixsd.evaluation.statistics import compare


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
        "base_low": 0.0,
        "base_high": pytest.approx(0.793, abs=1e-3),
        "adapter_low": pytest.approx(0.207, abs=1e-3),
        "adapter_high": 1.0,
        "gained": 1,
        "lost": 0,
        "p_value": 1.0,
        "lower_is_better": False,
    }


def test_a_loss_has_intervals_of_the_bootstrap_and_no_p_value() -> None:
    base, adapter = [0.5, 0.75, 1.5], [1.0, 1.25, 2.0]  # each item moves by a half

    score = compare("drift", "nats", base, adapter, resamples=2000, confidence=0.99, lower_is_better=True)

    assert (score.low, score.high, score.gained, score.lost, score.p_value) == (0.5, 0.5, None, None, None)
    assert (score.base_low, score.base_high) == (0.5, 1.5)  # 1 of 27 draws takes one item thrice
    assert score.lower_is_better


def test_marks_stay_with_a_score_and_are_not_stored() -> None:
    score = score_of([0.0, 1.0], [1.0, 1.0])

    assert (score.base_marks, score.adapter_marks) == ((0.0, 1.0), (1.0, 1.0))
    assert not any("marks" in name for name in score.to_json())


def test_marks_of_other_items_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="recall: 2 marks of the base model, 1 of the adapter"):
        score_of([0.0, 1.0], [1.0])


def test_many_items_are_drawn_a_few_at_a_time_with_the_same_result() -> None:
    dice = np.random.default_rng(1)
    marks = dice.random(5000)

    (found,) = bootstrap(marks[:, None], resamples=1000, confidence=0.9)

    drawn = np.random.default_rng(20260516).integers(5000, size=(1000, 5000))  # all at once
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(marks[drawn].mean(1), [0.05, 0.95])))
