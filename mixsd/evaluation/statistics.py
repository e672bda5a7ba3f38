"""Paired comparison of base and adapter on the same items."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixsd.evaluation.intervals import Interval, bootstrap, is_share, mcnemar, pairs_of, wilson
from mixsd.evaluation.score import Score


def compare(
    suite: str,
    metric: str,
    base: Sequence[float],
    adapter: Sequence[float],
    *,
    resamples: int,
    confidence: float,
    lower_is_better: bool = False,
) -> Score:
    """Return both means, their intervals, and a paired bootstrap interval of their difference.

    The interval of a share (marks of 0 and 1 alone) is Wilson's, that of any other mean comes from the
    bootstrap. A share also has a p value, see `mixsd.evaluation.intervals.mcnemar`.

    Args:
        suite: Names what was asked.
        metric: Names what the marks are.
        base: A mark of the base model for each item.
        adapter: Those of the adapter, in the same order.
        resamples: How often the bootstrap draws items.
        confidence: Of all intervals.
        lower_is_better: Whether the marks are losses.

    Raises:
        ValueError: There are more marks of one than of the other.

    Example:
        >>> score = compare("x", "accuracy", [1, 0, 1, 0], [1, 1, 1, 0], resamples=1000, confidence=0.95)
        >>> score.base, score.adapter, score.difference, score.low, score.p_value
        (0.5, 0.75, 0.25, 0.0, 1.0)
    """
    if len(base) != len(adapter):
        raise ValueError(f"{suite}: {len(base)} marks of the base model, {len(adapter)} of the adapter")
    if not base:
        return Score(suite, metric, 0, None, None, None, None, None, lower_is_better=lower_is_better)
    n = len(base)
    before, after = np.asarray(base, dtype=np.float64), np.asarray(adapter, dtype=np.float64)
    gained = lost = p_value = None
    if is_share(base, adapter):
        of_base, of_adapter = (wilson(int(marks.sum()), n, confidence) for marks in (before, after))
        (of_difference,) = bootstrap((after - before)[:, None], resamples=resamples, confidence=confidence)
        pairs = pairs_of(base, adapter)
        gained, lost, p_value = pairs.gained, pairs.lost, mcnemar(pairs.gained, pairs.lost)
    else:
        marks_N3 = np.stack([after - before, before, after], axis=1)
        of_difference, of_base, of_adapter = bootstrap(marks_N3, resamples=resamples, confidence=confidence)
    return Score(
        suite,
        metric,
        n,
        base=float(before.mean()),
        adapter=float(after.mean()),
        difference=float((after - before).mean()),
        **_ends("", of_difference),
        **_ends("base_", of_base),
        **_ends("adapter_", of_adapter),
        gained=gained,
        lost=lost,
        p_value=p_value,
        lower_is_better=lower_is_better,
        base_marks=tuple(before.tolist()),
        adapter_marks=tuple(after.tolist()),
    )


def _ends(prefix: str, interval: Interval) -> dict[str, Any]:
    return {f"{prefix}low": interval.low, f"{prefix}high": interval.high}
