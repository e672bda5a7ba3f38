"""From rows to figures: means over seeds, with intervals. Loads no torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mixsd.evaluation.intervals import t_quantile

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over the seeds of a method.

    Attributes:
        n: Seeds.
        low: End of the interval, None where there is none; `high` the other.
        over: What the interval speaks of: `seeds` (Student's t over at least two of them) or `run`
            (of one seed: the paired bootstrap over the questions, as evaluation gives it).
        base: The base model's value, where it has one. The interval less that is the one of the
            difference, since the base model is the same for all seeds.
    """

    mean: float
    n: int
    low: float | None = None
    high: float | None = None
    over: str = ""
    base: float | None = None

    def less_base(self) -> "Figure | None":
        """Return the difference to the base model."""
        if self.base is None:
            return None
        low = None if self.low is None else self.low - self.base
        high = None if self.high is None else self.high - self.base
        return Figure(self.mean - self.base, self.n, low, high, self.over)


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that rows have a value of.

    Attributes:
        suite: Of the row's scores, with base model and interval; else `value` reads it.
    """

    name: str
    title: str
    suite: str = ""
    value: Callable[[Row], float | None] = lambda _: None


def _seconds(row: Row) -> float:
    return float(sum(row["seconds"].get(name, 0.0) for name in ("generating", "training")))


def _rewordings(row: Row) -> float | None:
    trained = row.get("rewordings", {}).get("trained", {"n": 0})
    return trained["right"] / trained["n"] if trained["n"] else None


METRICS: Final[tuple[Metric, ...]] = (
    Metric("steps", "steps", value=lambda row: row["steps"]),
    Metric("supervised", "facts with a text", value=lambda row: row["supervised"]),
    Metric("recall", "recall", "recall"),
    Metric("recall_supervised", "recall of those with a text", "recall_supervised"),
    Metric("rewordings", "wordings trained on", value=_rewordings),
    Metric("paraphrase", "held-out paraphrases", "paraphrase"),
    Metric("probe", "probes", "probe"),
    Metric("general", "general knowledge", "general"),
    Metric("drift", "drift, nats per token", "drift"),
    Metric(
        "nats_per_token",
        "nats per token of the targets",
        value=lambda row: row.get("supervision", {}).get("nats_per_token"),
    ),
    Metric("seconds", "seconds", value=_seconds),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rows of a method come to.

    Attributes:
        seeds: Of the rows that were made; None for a method that has no seeds.
        figures: By the names of `METRICS`; one that no row has a value of is left out.
        counts: Mean number of facts by outcome.
        reached: Of a comparison by recall: how many rows got there; None otherwise.
    """

    method: str
    seeds: tuple[int | None, ...]
    figures: Mapping[str, Figure]
    counts: Mapping[str, float]
    reached: int | None = None


def summaries(rows: Sequence[Row], confidence: float) -> list[Summary]:
    """Return a summary of each method, in the order in which rows name them. Failed rows are left out."""
    by_method: dict[str, list[Row]] = {}
    for row in rows:
        if "error" not in row:
            by_method.setdefault(row["method"], []).append(row)
    return [_summary(method, found, confidence) for method, found in by_method.items()]


def _summary(method: str, rows: Sequence[Row], confidence: float) -> Summary:
    figures = {metric.name: _figure(metric, rows, confidence) for metric in METRICS}
    outcomes = [name for name in rows[0]["counts"] if name != "facts"]
    reached = [row["reached"] for row in rows if row.get("reached") is not None]
    return Summary(
        method,
        tuple(row["seed"] for row in rows),
        {name: figure for name, figure in figures.items() if figure is not None},
        {name: sum(row["counts"][name] for row in rows) / len(rows) for name in outcomes},
        sum(reached) if reached else None,
    )


def _figure(metric: Metric, rows: Sequence[Row], confidence: float) -> Figure | None:
    if not metric.suite:
        values = [value for row in rows if (value := metric.value(row)) is not None]
        return over_seeds(values, confidence) if values else None
    scores = [row["scores"][metric.suite] for row in rows if metric.suite in row["scores"]]
    if not scores:
        return None
    base = scores[0]["base"]
    if len(scores) == 1:
        low, high = (base + scores[0][end] for end in ("low", "high"))
        return Figure(scores[0]["adapter"], 1, low, high, "run", base)
    found = over_seeds([score["adapter"] for score in scores], confidence)
    return Figure(found.mean, found.n, found.low, found.high, found.over, base)


def over_seeds(values: Sequence[float], confidence: float) -> Figure:
    """Return the mean, and from two values on its t-interval.

    Example:
        >>> figure = over_seeds([1.0, 2.0, 3.0], 0.95)
        >>> figure.mean, round(figure.low, 3), round(figure.high, 3)
        (2.0, -0.484, 4.484)
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Figure(mean, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = t_quantile(n - 1, confidence) * math.sqrt(variance / n)
    return Figure(mean, n, mean - half, mean + half, "seeds")
