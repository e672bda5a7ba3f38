"""Is the adapter no worse than the base model, but for what one is ready to lose? Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mixsd.evaluation.intervals import Interval, is_share, mean_difference, pairs_of, share_difference


class Outcome(StrEnum):
    """What a test of non-inferiority can come to."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Found:
    """What a test of non-inferiority found.

    Attributes:
        n: Items.
        difference: Adapter less base, of the means; None without items.
        low: Lower bound of it, one-sided; `high` the upper one. None where there is none.
        reason: Why it is inconclusive; None otherwise.
    """

    outcome: Outcome
    n: int
    difference: float | None
    low: float | None
    high: float | None
    reason: str | None = None


def non_inferiority(
    base: Sequence[float],
    adapter: Sequence[float],
    *,
    max_drop: float,
    confidence: float,
    lower_is_better: bool = False,
) -> Found:
    """Test whether the adapter is worse than the base model by less than `max_drop`.

    Passed if the lower bound of the difference, adapter less base, lies above `-max_drop`; failed if
    the upper one lies below it; else the items cannot tell. Losses turn around: passed if the upper
    bound lies below `max_drop`, failed if the lower one lies above it. Each bound is one-sided, so an
    adapter that is worse by `max_drop` passes with a chance of about `1 - confidence`.

    Bounds of a share are those of Tango's score interval, of other means Student's; see
    `mixsd.evaluation.intervals`.

    Args:
        base: A mark of the base model for each item.
        adapter: Those of the adapter, in the same order.
        max_drop: The largest loss that is still taken, in the unit of the marks.
        confidence: Of each bound, in [0.5, 1).
        lower_is_better: Whether the marks are losses.

    Raises:
        ValueError: There are more marks of one than of the other.

    Example:
        >>> found = non_inferiority([1] * 200, [1] * 198 + [0] * 2, max_drop=0.05, confidence=0.95)
        >>> str(found.outcome), found.difference, round(found.low, 3)
        ('passed', -0.01, -0.03)
    """
    n = len(base)
    if n != len(adapter):
        raise ValueError(f"{n} marks of the base model, {len(adapter)} of the adapter")
    if not all(map(math.isfinite, (*base, *adapter))):
        return Found(Outcome.INCONCLUSIVE, n, None, None, None, "some of the marks are no numbers")
    if n == 0:
        return Found(Outcome.INCONCLUSIVE, 0, None, None, None, "nothing was measured")
    difference = (math.fsum(adapter) - math.fsum(base)) / n
    bounds = _bounds(base, adapter, confidence)
    if bounds is None:
        return Found(Outcome.INCONCLUSIVE, n, difference, None, None, "one item has no interval")
    worst, best = (-bounds.high, -bounds.low) if lower_is_better else (bounds.low, bounds.high)
    outcome, reason = Outcome.INCONCLUSIVE, None
    if worst > -max_drop:
        outcome = Outcome.PASSED
    elif best < -max_drop:
        outcome = Outcome.FAILED
    else:
        reason = f"{n} items cannot tell whether the loss is below {max_drop:g}"
    return Found(outcome, n, difference, bounds.low, bounds.high, reason)


def _bounds(base: Sequence[float], adapter: Sequence[float], one_sided: float) -> Interval | None:
    if is_share(base, adapter):
        return share_difference(pairs_of(base, adapter), one_sided)
    return mean_difference(base, adapter, one_sided) if len(base) > 1 else None
