"""Correlation of two figures over runs, with intervals. Loads no torch."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation over `n` pairs. What cannot be said is None: without spread there is none."""

    n: int
    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def pearson(x: Sequence[float], y: Sequence[float], *, confidence: float = 0.95) -> Correlation:
    """Return Pearson's r, with the interval of Fisher's z (at least four pairs).

    Example:
        >>> found = pearson([1, 2, 3, 4], [1, 2, 3, 5])
        >>> round(found.value, 4), round(found.low, 4)
        (0.9827, 0.3893)
    """
    return _with_interval(_pearson(x, y), len(x), 1.0, confidence)


def spearman(x: Sequence[float], y: Sequence[float], *, confidence: float = 0.95) -> Correlation:
    """Return Spearman's rho, ties at their mean rank, with the interval of Bonett and Wright (2000).

    Example:
        >>> round(spearman([1, 2, 3, 10], [1, 4, 9, 100]).value, 9)
        1.0
    """
    value = _pearson(ranks(x), ranks(y))
    spread = 1.0 if value is None else 1.0 + value * value / 2
    return _with_interval(value, len(x), spread, confidence)


def partial(
    x: Sequence[float], y: Sequence[float], given: Sequence[float], *, confidence: float = 0.95
) -> Correlation:
    """Return Pearson's r of x and y with a third figure held fast, by the three plain ones."""
    values = (_pearson(x, y), _pearson(x, given), _pearson(y, given))
    if any(value is None for value in values):
        return Correlation(len(x), None, None, None)
    r_xy, r_xz, r_yz = (float(value or 0.0) for value in values)
    left = (1 - r_xz * r_xz) * (1 - r_yz * r_yz)
    value = None if left <= 1e-12 else max(-1.0, min(1.0, (r_xy - r_xz * r_yz) / math.sqrt(left)))
    return _with_interval(value, len(x), 1.0, confidence, held=1)


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal ones share the mean of theirs.

    Example:
        >>> ranks([10, 20, 10])
        [1.5, 3.0, 1.5]
    """
    data = np.asarray(values, dtype=np.float64)
    return [float((data < value).sum() + ((data == value).sum() + 1) / 2) for value in data]


def _pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    if len(x) < 2:
        return None
    left, right = _centred(x), _centred(y)
    length = math.sqrt(float(left @ left)) * math.sqrt(float(right @ right))
    return max(-1.0, min(1.0, float(left @ right) / length)) if length > 0 else None


def _centred(values: Sequence[float]) -> NDArray[np.float64]:
    """Return deviations from the mean; none where all that differs is rounding."""
    data = np.asarray(values, dtype=np.float64)
    off = data - data.mean()
    noise = 1e-12 * float(np.abs(data).max())
    return off if float(np.abs(off).max()) > noise else np.zeros_like(off)


def _with_interval(
    value: float | None, n: int, spread: float, confidence: float, held: int = 0
) -> Correlation:
    freedom = n - 3 - held
    if value is None or freedom < 1:
        return Correlation(n, value, None, None)
    if 1.0 - abs(value) < 1e-12:  # z is beyond all bounds, and a point would claim what no one knows
        return Correlation(n, value, None, None)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(spread / freedom)
    middle = math.atanh(value)
    return Correlation(n, value, math.tanh(middle - reach), math.tanh(middle + reach))
