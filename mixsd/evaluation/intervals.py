"""Intervals and tests for marks of the same items, before and after. Pure; loads no torch.

A share is a mean of marks that are all 0 or 1, for right and wrong.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

BISECTIONS: Final = 80
"""Halvings of an interval of width 2 or less: more than a float can tell apart."""
_DRAWN_AT_ONCE: Final = 4_000_000
"""Marks that the bootstrap holds, at most: 32 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """How right and wrong answers to the same items fall into pairs.

    Attributes:
        n: All items.
        gained: Wrong before, right after.
        lost: Right before, wrong after.
    """

    n: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """Share after less share before."""
        return (self.gained - self.lost) / self.n


def is_share(*marks: Sequence[float]) -> bool:
    """Say whether all marks are 0 or 1.

    Example:
        >>> is_share([0, 1.0], [True]), is_share([0.5])
        (True, False)
    """
    return all(mark in {0, 1} for of_one in marks for mark in of_one)


def pairs_of(base: Sequence[float], adapter: Sequence[float]) -> Pairs:
    """Count the pairs of marks of a share.

    Example:
        >>> pairs_of([1, 0, 1, 0], [1, 1, 0, 1])
        Pairs(n=4, gained=2, lost=1)
    """
    both = list(zip(base, adapter, strict=True))
    return Pairs(len(both), sum(b < a for b, a in both), sum(b > a for b, a in both))


def wilson(right: int, n: int, confidence: float) -> Interval:
    """Return the score interval of a share: Wilson, J. Am. Stat. Assoc. 22 (1927), 209.

    It stays within [0, 1] and has a width also where all or none are right.

    Example:
        >>> found = wilson(0, 10, 0.95)
        >>> found.low, round(found.high, 4)
        (0.0, 0.2775)
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, room = right / n, z * z / n
    middle = (share + room / 2) / (1 + room)
    half = math.sqrt(room * (share * (1 - share) + room / 4)) / (1 + room)
    low = 0.0 if right == 0 else max(middle - half, 0.0)
    return Interval(low, 1.0 if right == n else min(middle + half, 1.0))


def mcnemar(gained: int, lost: int) -> float:
    """Return the p value of McNemar's exact test, two-sided.

    Of the items that changed, as many should be gained as lost if nothing but chance was at work:
    twice the smaller tail of Binomial(gained + lost, 1/2), and 1 at most.

    Example:
        >>> mcnemar(1, 9), mcnemar(0, 0)
        (0.021484375, 1.0)
    """
    changed = gained + lost
    term = tail = 1  # whole numbers: nothing is lost, however many items there are
    for k in range(1, min(gained, lost) + 1):
        term = term * (changed - k + 1) // k
        tail += term
    p_value: float = 2 * tail / 2**changed  # whole numbers divide without overflow
    return min(1.0, p_value)


def share_difference(pairs: Pairs, one_sided: float) -> Interval:
    """Return bounds of the difference of two shares of the same items, each of them one-sided.

    Tango's score interval (Statistics in Medicine 17 (1998), 891): a difference lies within if the
    score test at it, with the shares that are likeliest under it, does not refuse it. Unlike a
    bootstrap it has a width also where no answer changed.

    Args:
        pairs: Of at least one item.
        one_sided: Confidence of each bound, in [0.5, 1). Both together hold `2 * one_sided - 1`.

    Example:
        >>> found = share_difference(Pairs(n=100, gained=0, lost=0), 0.95)
        >>> round(found.low, 4), round(found.high, 4)
        (-0.0263, 0.0263)
    """
    z = NormalDist().inv_cdf(one_sided)
    seen = pairs.difference
    low = _bisect(lambda at: _score(pairs, at) > z, -1.0, seen) if seen > -1 else -1.0
    high = _bisect(lambda at: _score(pairs, at) > -z, seen, 1.0) if seen < 1 else 1.0
    return Interval(low, high)


def _score(pairs: Pairs, at: float) -> float:
    """Return how many standard errors the difference seen lies above `at`."""
    n, gained, lost = pairs.n, pairs.gained, pairs.lost
    b = -(gained + lost) + (2 * n - gained + lost) * at
    c = -lost * at * (1 - at)
    # The likeliest share of lost items if the true difference is `at`: the root of 2n q^2 + b q + c.
    likeliest = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * likeliest + at * (1 - at))
    off = gained - lost - n * at
    return off / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, off)


def _bisect(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that holds from `low` on ceases to hold."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def mean_difference(base: Sequence[float], adapter: Sequence[float], one_sided: float) -> Interval:
    """Return bounds of the mean difference of the same items, each one-sided: Student's t.

    Args:
        base: Before, of at least two items.
        adapter: After.
        one_sided: Confidence of each bound, in [0.5, 1).
    """
    differences = np.subtract(adapter, base, dtype=np.float64)
    n = len(differences)
    half = t_quantile(n - 1, 2 * one_sided - 1) * float(differences.std(ddof=1)) / math.sqrt(n)
    middle = float(differences.mean())
    return Interval(middle - half, middle + half)


def bootstrap(marks_NM: NDArray[np.float64], *, resamples: int, confidence: float) -> tuple[Interval, ...]:
    """Return the percentile interval of the mean of each column.

    Items are drawn with replacement, all of an item together, from a generator with a fixed seed; an
    interval runs between percentiles of the resampled means.

    Args:
        marks_NM: M marks of each of N items.
        resamples: How often items are drawn.
        confidence: The share of the means that lie within.
    """
    n = len(marks_NM)
    dice = np.random.default_rng(20260516)
    at_once = max(1, min(1000, _DRAWN_AT_ONCE // marks_NM.size))
    means_RM = np.concatenate(
        [
            marks_NM[dice.integers(n, size=(min(at_once, resamples - k), n))].mean(1)
            for k in range(0, resamples, at_once)
        ]
    )
    ends_2M = np.quantile(means_RM, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return tuple(Interval(float(low), float(high)) for low, high in ends_2M.T)


def t_quantile(freedom: int, confidence: float) -> float:
    """Return the t within which a share `confidence` of Student's distribution lies, both sides.

    By bisection of its distribution function over the angle atan(t / sqrt(freedom)).

    Example:
        >>> [round(t_quantile(freedom, 0.95), 3) for freedom in (1, 2, 9)]
        [12.706, 4.303, 2.262]
    """
    angle = _bisect(lambda at: _share_within(at, freedom) < confidence, 0.0, math.pi / 2)
    return math.sqrt(freedom) * math.tan(angle)


def _share_within(angle: float, freedom: int) -> float:
    """Return the share of Student's distribution within an angle.

    The finite series for whole degrees of freedom, Abramowitz and Stegun 26.7.3 and 26.7.4.
    """
    cosine = math.cos(angle)
    if freedom % 2 == 0:
        term = total = 1.0
        for k in range(2, freedom, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        return math.sin(angle) * total
    if freedom == 1:
        return 2 * angle / math.pi
    term = total = cosine
    for k in range(3, freedom, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total)
