"""Figures: ratios of pairs of runs, each with the floor that it is to hold."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure.

    Attributes:
        values: One for each pair of runs, or a single one where nothing is timed.
        what: What was measured, and in which unit.
        least: What the median is to reach.
        most: What it is not to exceed.
        more: What else was seen.
    """

    values: Sequence[float]
    what: str
    least: float | None = None
    most: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def floor(self) -> str:
        bounds = [f">= {self.least}"] if self.least is not None else []
        bounds += [f"<= {self.most}"] if self.most is not None else []
        return ", ".join(bounds)

    @property
    def met(self) -> bool:
        """Whether the median holds the floor."""
        return (self.least is None or self.median >= self.least) and (
            self.most is None or self.median <= self.most
        )

    def to_json(self) -> dict[str, Any]:
        rounded = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        return (
            {name: round(value, 4) for name, value in rounded.items()}
            | {"floor": self.floor, "met": self.met, "what": self.what}
            | dict(self.more)
        )


Side = Callable[[int], float]
"""Runs one side with texts of so many tokens; returns its seconds, or seconds for each unit of work."""


def in_pairs(first: Side, second: Side, *, cap: int, pairs: int) -> list[tuple[float, float]]:
    """Run both sides in turn, first second first second, after each ran once on short texts."""
    first(2)
    second(2)
    seconds = []
    for pair in range(pairs):
        seconds.append((first(cap), second(cap)))
        say(f"  pair {pair + 1}: {seconds[-1][0]:.4g} s, {seconds[-1][1]:.4g} s")
    return seconds


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
