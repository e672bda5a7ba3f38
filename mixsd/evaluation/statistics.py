"""Paired comparison of base and adapter on the same items."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Score:
    """A figure before and after. `difference` is adapter less base, `low` to `high` its interval."""

    suite: str
    metric: str
    n: int
    base: float | None
    adapter: float | None
    difference: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    suite: str,
    metric: str,
    base: Sequence[float],
    adapter: Sequence[float],
    *,
    resamples: int,
    confidence: float,
) -> Score:
    """Return both means and a paired bootstrap interval of their difference.

    Items are drawn with replacement, base and adapter of an item together, from a generator with
    a fixed seed; the interval runs between percentiles of the resampled mean differences.

    Example:
        >>> score = compare("x", "accuracy", [1, 0, 1, 0], [1, 1, 1, 0], resamples=1000, confidence=0.95)
        >>> score.base, score.adapter, score.difference, score.low
        (0.5, 0.75, 0.25, 0.0)
    """
    if not base:
        return Score(suite, metric, 0, None, None, None, None, None)
    differences = np.asarray(adapter, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    n = len(differences)
    dice = np.random.default_rng(20260516)
    means = np.concatenate(
        [
            differences[dice.integers(n, size=(min(1000, resamples - k), n))].mean(-1)
            for k in range(0, resamples, 1000)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Score(
        suite,
        metric,
        n,
        base=float(np.mean(base)),
        adapter=float(np.mean(adapter)),
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
    )
