"""Means over benchmarks, as the paper prints them: each benchmark counts alike, whatever its size."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, variance
from typing import TYPE_CHECKING, Any, Final

from mixsd.benchmarks.paper import BENCHMARKS, GREEDY

if TYPE_CHECKING:
    from mixsd.benchmarks.running import Outcome

MEANS: Final[Mapping[str, tuple[str, ...]]] = {
    "paper": tuple(BENCHMARKS),
    f"paper{GREEDY}": tuple(f"{name}{GREEDY}" for name in BENCHMARKS),
}
"""Benchmarks of each mean, by its name."""


def means_of(outcomes: "Sequence[Outcome]", *, confidence: float) -> list[dict[str, Any]]:
    """Return the means of which all benchmarks were run.

    The interval is that of a mean of independent means, by the normal distribution: the variance of
    each benchmark's mean comes from its items, and that of the difference from their paired
    differences. Benchmarks with fewer than two items have no interval, and the mean then has none.

    Args:
        outcomes: Benchmarks that were run.
        confidence: Of the intervals.
    """
    by_name = {outcome.suite.name: outcome for outcome in outcomes if outcome.base.ids}
    return [
        _mean(name, [by_name[suite] for suite in suites], confidence)
        for name, suites in MEANS.items()
        if all(suite in by_name for suite in suites)
    ]


def _mean(name: str, outcomes: "Sequence[Outcome]", confidence: float) -> dict[str, Any]:
    before = [_marks(outcome, "base") for outcome in outcomes]
    told: dict[str, Any] = {"name": name, "suites": [outcome.suite.name for outcome in outcomes]}
    told |= _described("base", before, confidence)
    if any(outcome.adapter is None for outcome in outcomes):
        return told
    after = [_marks(outcome, "adapter") for outcome in outcomes]
    told |= _described("adapter", after, confidence)
    changes = [
        [new - old for old, new in zip(one, other, strict=True)]
        for one, other in zip(before, after, strict=True)
    ]
    told |= _described("difference", changes, confidence)
    told["kept"] = told["adapter"] / told["base"] if told["base"] > 0 else None
    return told


def _marks(outcome: "Outcome", side: str) -> list[float]:
    """Return the marks of the first metric, in the order of the base model's items."""
    marked = outcome.base if side == "base" or outcome.adapter is None else outcome.adapter
    by_id = dict(zip(marked.ids, marked.marks[outcome.suite.metrics[0].name], strict=True))
    return [by_id[name] for name in outcome.base.ids]


def _described(name: str, marks: Sequence[Sequence[float]], confidence: float) -> dict[str, float | None]:
    mean = fmean(map(fmean, marks))
    if any(len(each) < 2 for each in marks):
        return {name: mean, f"{name}_low": None, f"{name}_high": None}
    error = math.sqrt(sum(variance(each) / len(each) for each in marks)) / len(marks)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
