"""Correlations against numpy and against figures worked out by hand."""

import math

import numpy as np
import pytest

from mixsd.analysis.correlation import partial, pearson, ranks, spearman


@pytest.mark.parametrize("seed", range(40))
def test_pearson_is_that_of_numpy(seed: int) -> None:
    dice = np.random.default_rng(seed)
    x, y = (dice.integers(-5, 5, size=dice.integers(2, 30)) * 0.1 for _ in range(2))
    x, y = x[: len(y)], y[: len(x)]

    found = pearson(list(x), list(y))

    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found.value is None
    else:
        assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
        if len(x) > 3 and found.value is not None and found.low is not None and found.high is not None:
            assert found.low <= found.value <= found.high


@pytest.mark.parametrize("seed", range(10))
def test_ranks_share_what_ties_have(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 6, size=12).tolist()

    found = ranks(values)

    for place, value in enumerate(values):
        equal = [rank for rank, other in enumerate(sorted(values), 1) if other == value]
        assert found[place] == sum(equal) / len(equal)


def test_spearman_sees_order_alone() -> None:
    # Differences of ranks 1, 1, 0, 0, 0: 1 - 6 * 2 / (5 * 24).
    assert spearman([1, 2, 3, 4, 5], [20, 10, 300, 4000, 50000]).value == pytest.approx(0.9)


def test_intervals_are_those_of_the_formulas() -> None:
    x, y = [1.0, 2, 3, 4, 5, 6, 7], [2.0, 1, 4, 3, 7, 5, 6]
    r, rho = pearson(x, y), spearman(x, y)
    assert r.value is not None
    assert rho.value is not None

    reach = 1.959964 / math.sqrt(4)
    assert (r.low, r.high) == pytest.approx(
        (math.tanh(math.atanh(r.value) - reach), math.tanh(math.atanh(r.value) + reach)), abs=1e-6
    )
    wider = reach * math.sqrt(1 + rho.value**2 / 2)
    assert (rho.low, rho.high) == pytest.approx(
        (math.tanh(math.atanh(rho.value) - wider), math.tanh(math.atanh(rho.value) + wider)), abs=1e-6
    )


def test_fewer_than_four_pairs_have_no_interval_and_no_pairs_no_value() -> None:
    assert (pearson([1, 2, 4], [1, 3, 2]).low, pearson([], []).value) == (None, None)
    assert pearson([1], [2]).value is None
    assert pearson([0.1 + 0.2, 0.3, 0.3], [1, 2, 3]).value is None  # differs by rounding alone


def test_a_perfect_correlation_has_no_interval() -> None:
    for found in (pearson([1, 2, 3, 4, 5], [2, 4, 6, 8, 10]), spearman([1, 2, 3, 4, 5], [9, 7, 5, 1, 0])):
        assert abs(found.value or 0) == pytest.approx(1.0)
        assert (found.low, found.high) == (None, None)


def test_partial_is_the_correlation_of_what_the_third_leaves_over() -> None:
    dice = np.random.default_rng(3)
    given_ = dice.normal(size=40)
    x, y = given_ + dice.normal(size=40), given_ - 0.5 * dice.normal(size=40)
    design = np.stack([np.ones(40), given_], 1)
    left = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (x, y)]

    found = partial(list(x), list(y), list(given_))

    assert found.value == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-12)
    assert partial(list(x), list(x), list(x)).value is None
