"""Losses of many tokens, kept as a histogram and a few sums, so that memory does not grow with them.

Loads no torch.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 0.01
"""Nats of a bin: quantiles and curves are exact to that."""
MOST: Final = 60.0
"""Nats from which on losses are counted together."""
QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_RISE: Final = 0.0005
_BINS: Final = round(MOST / WIDTH) + 1


@dataclass(slots=True)
class Ratio:
    """Sum of a value over tokens, divided by their number, with an interval over clusters.

    Tokens of one fact go together, so that the facts are the sample and not the tokens. Only sums are
    kept; the standard error is that of the linearised ratio (Cochran, Sampling Techniques, 6.4).

    Example:
        >>> ratio = Ratio()
        >>> for total, tokens in [(1, 10), (2, 10), (3, 10)]:
        ...     ratio.add(total, tokens)
        >>> ratio.value, [round(end, 3) for end in ratio.interval(0.95)]
        (0.2, [0.087, 0.313])
    """

    clusters: int = 0
    values: float = 0.0
    tokens: float = 0.0
    _vv: float = 0.0
    _vt: float = 0.0
    _tt: float = 0.0

    def add(self, value: float, tokens: int) -> None:
        """Add a cluster: the sum of its values, and how many tokens it has."""
        self.clusters += 1
        self.values += value
        self.tokens += tokens
        self._vv += value * value
        self._vt += value * tokens
        self._tt += tokens * tokens

    @property
    def value(self) -> float:
        return self.values / self.tokens

    def interval(self, confidence: float) -> list[float] | None:
        """Return both ends of the interval (normal), None with fewer than two clusters."""
        if self.clusters < 2:
            return None
        ratio = self.value
        squares = max(0.0, self._vv - 2 * ratio * self._vt + ratio * ratio * self._tt)
        error = math.sqrt(squares * self.clusters / (self.clusters - 1)) / self.tokens
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
        return [ratio - reach, ratio + reach]


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(_BINS, dtype=np.int64)


@dataclass(slots=True)
class Tally:
    """Losses of the tokens of a group.

    Attributes:
        tau: Nats above which a token counts as one that the model holds unlikely.
        texts: That have a token in the group.
    """

    tau: float
    texts: int = 0
    total: float = 0.0
    above: int = 0
    largest: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=_no_counts)
    _mean: Ratio = field(default_factory=Ratio)
    _share: Ratio = field(default_factory=Ratio)
    _cluster: object = None
    _open: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, losses: Sequence[float], cluster: object) -> None:
        """Add the tokens of a text. Texts of a cluster come one behind the other."""
        if not losses:
            return
        if cluster != self._cluster:
            self._close()
            self._cluster = cluster
        values = np.asarray(losses, dtype=np.float64)
        above = int((values > self.tau).sum())
        self.texts += 1
        self.total += float(values.sum())
        self.above += above
        self.largest = max(self.largest, float(values.max()))
        bins = np.clip(np.ceil(values / WIDTH).astype(np.int64), 0, _BINS - 1)
        np.add.at(self.counts, bins, 1)
        self._open = [
            old + new for old, new in zip(self._open, (values.sum(), above, len(values)), strict=True)
        ]

    def _close(self) -> None:
        value, above, tokens = self._open
        if tokens:
            self._mean.add(float(value), int(tokens))
            self._share.add(above, int(tokens))
        self._open = [0.0, 0.0, 0.0]

    @property
    def tokens(self) -> int:
        return int(self.counts.sum())

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return what the group comes to. Ends what is under way."""
        self._close()
        self._cluster = None
        return {
            "texts": self.texts,
            "tokens": self.tokens,
            "clusters": self._mean.clusters,
            "mean": self.total / self.tokens,
            "mean_interval": self._mean.interval(confidence),
            "above_tau": self.above,
            "share_above_tau": self.above / self.tokens,
            "share_interval": _within_one(self._share.interval(confidence)),
            "quantiles": {f"{q:g}": self.quantile(q) for q in QUANTILES},
            "largest": self.largest,
        }

    def quantile(self, share: float) -> float:
        """Return the upper edge of the bin in which a quantile lies, in nats."""
        running = np.cumsum(self.counts)
        place = int(np.searchsorted(running, share * running[-1] - 1e-9))
        return min(round(place * WIDTH, 6), self.largest)

    def curve(self) -> list[tuple[float, float]]:
        """Return the ECDF: nats, and the share of tokens that cost no more, wherever it has risen enough."""
        shares = np.cumsum(self.counts) / self.tokens
        points: list[tuple[float, float]] = []
        for place in np.flatnonzero(self.counts):
            share = float(shares[place])
            if not points or share - points[-1][1] >= _RISE or share == 1.0:
                points.append((round(int(place) * WIDTH, 6), share))
        return points


def _within_one(ends: Iterable[float] | None) -> list[float] | None:
    return None if ends is None else [min(1.0, max(0.0, end)) for end in ends]
