"""Intervals and tests against scipy, which computes them in other ways."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from mixsd.evaluation.intervals import (
    Interval,
    Pairs,
    mcnemar,
    mean_difference,
    pairs_of,
    share_difference,
    t_quantile,
    wilson,
)

CONFIDENCES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.975, 0.999])
MARKS = st.floats(-50, 50, allow_nan=False)


@st.composite
def pairs(draw: st.DrawFn) -> Pairs:
    n = draw(st.integers(1, 60))
    gained = draw(st.integers(0, n))
    return Pairs(n, gained, draw(st.integers(0, n - gained)))


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=CONFIDENCES)
def test_the_interval_of_a_share_is_that_of_scipy(n: int, share: float, confidence: float) -> None:
    right = round(n * share)

    found = wilson(right, n, confidence)

    wanted = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert 0 <= found.low <= right / n <= found.high <= 1


@given(gained=st.integers(0, 400), lost=st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_of_scipy(gained: int, lost: int) -> None:
    p_value = mcnemar(gained, lost)

    wanted = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert p_value == pytest.approx(wanted, rel=1e-9)
    assert p_value == mcnemar(lost, gained)


def test_mcnemar_of_very_many_items_is_still_exact() -> None:
    assert mcnemar(7000, 7000) == 1.0
    assert mcnemar(0, 2000) == 0.0  # 2 ** -1999 is no float
    assert mcnemar(5100, 4900) == pytest.approx(stats.binomtest(4900, 10_000).pvalue, rel=1e-9)


def likelihood_score(counts: Pairs, at: float) -> float:
    """Return what `_score` computes in closed form: here the likelihood is maximised by search."""
    n, gained, lost = counts.n, counts.gained, counts.lost

    def unlikely(q: float) -> float:  # q: the share of lost items; at + q: that of gained ones
        shares = ((gained, q + at), (lost, q), (n - gained - lost, 1 - 2 * q - at))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in shares if count)

    ends = max(0.0, -at), (1 - at) / 2
    q = float(optimize.minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}).x)
    return (gained - lost - n * at) / math.sqrt(n * (2 * q + at * (1 - at)))


@given(counts=pairs(), one_sided=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_at_its_ends_the_score_test_just_does_not_refuse(counts: Pairs, one_sided: float) -> None:
    z = stats.norm.ppf(one_sided)

    found = share_difference(counts, one_sided)

    assert -1 <= found.low <= counts.difference <= found.high <= 1
    if counts.difference > -1:
        assert likelihood_score(counts, found.low) == pytest.approx(z, abs=2e-3)
    if counts.difference < 1:
        assert likelihood_score(counts, found.high) == pytest.approx(-z, abs=2e-3)


@given(counts=pairs(), one_sided=CONFIDENCES)
def test_what_is_gained_for_one_is_lost_for_the_other(counts: Pairs, one_sided: float) -> None:
    there = share_difference(counts, one_sided)
    back = share_difference(Pairs(counts.n, counts.lost, counts.gained), one_sided)

    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)


def test_no_change_says_more_the_more_items_there_are() -> None:
    z = stats.norm.ppf(0.95)

    for n in (1, 10, 1000):
        found = share_difference(Pairs(n, 0, 0), 0.95)
        assert (-found.low, found.high) == pytest.approx((z * z / (n + z * z),) * 2)


def test_all_gained_or_all_lost_ends_where_a_share_ends() -> None:
    assert share_difference(Pairs(8, 8, 0), 0.95).high == 1
    assert share_difference(Pairs(8, 0, 8), 0.95).low == -1


@pytest.mark.parametrize("truth", [(0.06, 0.06), (0.02, 0.1), (0.3, 0.25)])
def test_a_bound_of_shares_is_on_the_right_side_as_often_as_it_says(truth: tuple[float, float]) -> None:
    dice = np.random.default_rng(5)
    gained, lost = truth
    rounds, held = 1000, 0

    for counts in dice.multinomial(150, [gained, lost, 1 - gained - lost], size=rounds):
        found = share_difference(Pairs(150, int(counts[0]), int(counts[1])), 0.95)
        held += found.low <= gained - lost

    # 4.5 standard deviations of a binomial share of 0.95: 4.5 * sqrt(1000 * 0.95 * 0.05) = 31.
    assert abs(held - 950) <= 31


@given(data=st.lists(st.tuples(MARKS, MARKS), min_size=2, max_size=40), one_sided=CONFIDENCES)
def test_bounds_of_a_mean_are_those_of_scipys_paired_test(
    data: list[tuple[float, float]], one_sided: float
) -> None:
    base, adapter = zip(*data, strict=True)
    differences = np.subtract(adapter, base)

    found = mean_difference(base, adapter, one_sided)

    error = differences.std(ddof=1) / math.sqrt(len(data))
    half = stats.t.ppf(one_sided, len(data) - 1) * error
    middle = differences.mean()
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6 + 1e-6 * half)


def test_a_mean_has_the_interval_of_scipys_test() -> None:
    dice = random.Random(2)  # noqa: S311  samples, not secrets
    base = [dice.gauss(1, 1) for _ in range(24)]
    adapter = [value + dice.gauss(0.1, 0.2) for value in base]

    found = mean_difference(base, adapter, 0.95)

    wanted = stats.ttest_rel(adapter, base).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


@given(freedom=st.integers(1, 300), confidence=st.floats(0, 0.999))
def test_quantiles_of_student_are_those_of_scipy(freedom: int, confidence: float) -> None:
    wanted = stats.t.ppf((1 + confidence) / 2, freedom)

    assert t_quantile(freedom, confidence) == pytest.approx(wanted, rel=1e-7, abs=1e-9)


def test_pairs_are_counted_by_what_changed() -> None:
    assert pairs_of([1, 0, 1, 0, 1], [0, 1, 1, 0, 0]) == Pairs(n=5, gained=1, lost=2)
    with pytest.raises(ValueError, match="shorter"):
        pairs_of([1, 0], [1])


def test_items_that_all_move_alike_leave_no_room() -> None:
    assert mean_difference([0.5, 1.5], [1.0, 2.0], 0.95) == Interval(0.5, 0.5)
