"""Non-inferiority: three outcomes, and how often each is right."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mixsd.evaluation.inferiority import Found, Outcome, non_inferiority


def of_share(n: int, gained: int, lost: int, *, max_drop: float = 0.05, confidence: float = 0.95) -> Found:
    """Test an adapter that answers some of n items otherwise; the base answers those it loses."""
    base = [1.0] * lost + [0.0] * (n - lost)
    adapter = [0.0] * lost + [1.0] * gained + [0.0] * (n - lost - gained)
    return non_inferiority(base, adapter, max_drop=max_drop, confidence=confidence)


@pytest.mark.parametrize(
    ("n", "gained", "lost", "outcome"),
    [
        (159, 5, 5, "passed"),
        (159, 0, 0, "passed"),
        (40, 0, 0, "inconclusive"),  # nothing changed, but 40 items cannot exclude a loss of 5 points
        (159, 0, 30, "failed"),
        (159, 2, 10, "inconclusive"),
        (2000, 2, 102, "inconclusive"),  # five points lost, and five are allowed
        (10, 10, 0, "passed"),
        (10, 0, 10, "failed"),
    ],
)
def test_a_share_passes_fails_or_is_not_known(n: int, gained: int, lost: int, outcome: str) -> None:
    found = of_share(n, gained, lost)

    assert found.outcome == outcome
    assert (found.n, found.difference) == (n, (gained - lost) / n)
    assert (found.reason is None) == (outcome != "inconclusive")


@given(
    marks=st.lists(st.tuples(st.floats(0.0, 9.0), st.floats(0.0, 9.0)), min_size=2, max_size=30),
    max_drop=st.sampled_from([0.05, 0.5, 2.0]),
    confidence=st.sampled_from([0.8, 0.95]),
)
def test_a_loss_passes_if_scipys_one_sided_test_says_so(
    marks: list[tuple[float, float]], max_drop: float, confidence: float
) -> None:
    base, adapter = zip(*marks, strict=True)
    rises = np.subtract(adapter, base)
    clear = rises.std() > 1e-3 and not all(mark in {0, 1} for pair in marks for mark in pair)
    if not clear:
        return

    found = non_inferiority(base, adapter, max_drop=max_drop, confidence=confidence, lower_is_better=True)

    less = stats.ttest_1samp(rises, max_drop, alternative="less").pvalue
    greater = stats.ttest_1samp(rises, max_drop, alternative="greater").pvalue
    if min(abs(less - 1 + confidence), abs(greater - 1 + confidence)) > 1e-6:
        assert (found.outcome == "passed") == (less < 1 - confidence)
        assert (found.outcome == "failed") == (greater < 1 - confidence)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20))
def test_a_loss_is_a_score_turned_around(marks: list[tuple[float, float]]) -> None:
    base, adapter = ([pair[side] for pair in marks] for side in (0, 1))

    loss = non_inferiority(base, adapter, max_drop=0.2, confidence=0.9, lower_is_better=True)
    score = non_inferiority(
        [-mark for mark in base], [-mark for mark in adapter], max_drop=0.2, confidence=0.9
    )

    if not {*base, *adapter} <= {0, 1, -1}:
        assert loss.outcome == score.outcome
        assert loss.difference == pytest.approx(-(score.difference or 0), abs=1e-12)


def test_more_confidence_never_turns_a_doubt_into_an_answer() -> None:
    order = {"passed": 1, "failed": -1, "inconclusive": 0}

    for gained in range(0, 30, 3):
        for lost in range(0, 60, 4):
            sure, less_sure = (of_share(159, gained, lost, confidence=c).outcome for c in (0.99, 0.8))
            assert order[sure] in {order[less_sure], 0}


def test_an_adapter_on_the_edge_passes_as_seldom_as_the_confidence_says() -> None:
    dice = np.random.default_rng(8)
    gained, lost = 0.03, 0.08  # it loses just what is allowed

    outcomes = [
        of_share(400, int(counts[0]), int(counts[1])).outcome
        for counts in dice.multinomial(400, [gained, lost, 1 - gained - lost], size=1000)
    ]

    # 4.5 standard deviations of a binomial share of 0.05: 31.
    assert abs(outcomes.count(Outcome.PASSED) - 50) <= 31
    assert abs(outcomes.count(Outcome.FAILED) - 50) <= 31


@pytest.mark.parametrize(
    ("base", "adapter", "n", "reason"),
    [
        ([], [], 0, "nothing was measured"),
        ([0.7], [0.9], 1, "one item has no interval"),
        ([0.5, math.nan], [0.5, 0.5], 2, "some of the marks are no numbers"),
        ([0.5, 0.5], [math.inf, 0.5], 2, "some of the marks are no numbers"),
    ],
)
def test_what_cannot_be_tested_says_why(base: list[float], adapter: list[float], n: int, reason: str) -> None:
    found = non_inferiority(base, adapter, max_drop=0.1, confidence=0.95)

    assert (found.outcome, found.n, found.low, found.high, found.reason) == (
        "inconclusive",
        n,
        None,
        None,
        reason,
    )


def test_marks_of_other_items_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 marks of the base model, 1 of the adapter"):
        non_inferiority([0.0, 1.0], [1.0], max_drop=0.1, confidence=0.95)
