"""What a forward pass costs, by the number of its tokens, and which guesses are worth that.

Knows nothing of models.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

_PASSES: Final = 9
_SIZES: Final = 48
_SMALL: Final = 64
_PRICE: Final = 0.03


class FixedCost:
    """A forward pass takes `fixed + each * tokens` seconds, both known."""

    def __init__(self, fixed: float, each: float) -> None:
        self._fixed, self._each = fixed, each

    def learn(self, tokens: int, seconds: float) -> None:
        """Take no notice: the cost is known."""

    def seconds(self, tokens: int) -> float | None:
        """Return how long a pass of so many tokens takes; None where nothing is known yet."""
        return self._fixed + self._each * tokens


class CostModel(FixedCost):
    """The same, learned from the forward passes of the run.

    Of each number of tokens the last passes are kept and their median taken, so that single slow
    passes do not count. Between numbers that were seen the cost is a straight line; it never falls
    as tokens are added, and it has steps: products of a few rows run by other code than those of
    more. Beyond them it rises as from the smallest to the largest that was seen.
    """

    def __init__(self) -> None:
        super().__init__(0.0, 0.0)
        self._seen: dict[int, deque[float]] = {}
        self._line: list[tuple[int, float]] | None = None

    def learn(self, tokens: int, seconds: float) -> None:
        """Note how long a forward pass of `tokens` row tokens took."""
        size = tokens if tokens <= _SMALL else 1 << (tokens - 1).bit_length()
        kept = self._seen.pop(size, None) or deque(maxlen=_PASSES)
        kept.append(seconds * size / tokens)
        self._seen[size] = kept  # behind the others: the first is the one not seen for longest
        if len(self._seen) > _SIZES:
            del self._seen[next(iter(self._seen))]
        self._line = None

    def seconds(self, tokens: int) -> float | None:
        line = self._curve()
        place = bisect_left(line, tokens, key=lambda point: point[0])
        if place < len(line) and (place == 0 or line[place][0] == tokens):
            return line[place][1] if len(line) > 1 or line[0][0] == tokens else None
        if len(line) < 2:
            return None
        low, high = (line[place - 1], line[place]) if place < len(line) else (line[0], line[-1])
        each = (high[1] - low[1]) / (high[0] - low[0])
        return high[1] + each * (tokens - high[0])

    def _curve(self) -> list[tuple[int, float]]:
        """Return (tokens, seconds), both rising."""
        if self._line is None:
            self._line, least = [], 0.0
            for tokens, kept in sorted(self._seen.items()):
                least = max(least, median(kept))
                self._line.append((tokens, least))
        return self._line


def least_chance(
    cost: FixedCost, tokens: int, texts: int, guesses: Iterable[tuple[float, int]]
) -> float | None:
    """Return the chance from which on guesses are judged: that which gives the most tokens a second.

    Guesses are taken in, the likeliest first, as long as any number of them makes up for what the
    pass takes longer.

    Args:
        cost: Of a forward pass.
        tokens: Row tokens of the pass without guesses.
        texts: Texts that it brings on by a token each.
        guesses: For each the chance that it and all before it are right, and its row tokens.

    Returns:
        None if no guess pays, or the cost is not known.

    Example:
        >>> line = FixedCost(0.04, 0.001)
        >>> least_chance(line, 2, 1, [(0.9, 1), (0.6, 1), (0.01, 2)])
        0.6
    """
    present = cost.seconds(tokens)
    if not present or not texts:
        return None
    written, best, least = float(texts), texts / present * (1 + _PRICE), None
    for chance, more in sorted(guesses, key=lambda guess: -guess[0]):
        written, tokens = written + chance, tokens + more
        seconds = cost.seconds(tokens)
        if seconds is None:
            break
        if written / seconds > best:
            best, least = written / seconds, chance
    return least


def median(values: Collection[float]) -> float:
    """Return the middle value, or the mean of both middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
