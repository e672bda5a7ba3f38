"""Means over benchmarks: each counts alike, and their intervals."""

import math
from dataclasses import dataclass

import pytest
from scipy import stats

from mixsd.benchmarks.means import MEANS, means_of
from mixsd.benchmarks.running import Outcome
from mixsd.benchmarks.suite import Marked, Metric


@dataclass(frozen=True)
class Named:
    """A benchmark as far as a mean looks at it."""

    name: str
    metrics: tuple[Metric, ...] = (Metric("accuracy"), Metric("other"))


def marked(*values: float, turned: bool = False) -> Marked:
    ids = tuple(str(place) for place in range(len(values)))
    order = slice(None, None, -1 if turned else 1)
    marks = {"accuracy": values[order], "other": tuple(0.0 for _ in values)}
    return Marked(ids[order], marks, tuple("" for _ in values))


def outcomes(*, adapter: bool = True) -> list[Outcome]:
    suites = MEANS["paper"]
    found = []
    for place, name in enumerate(suites):
        n = 10 + place
        before = [float(k % 2) for k in range(n)]
        after = [float(k % 4 == 1) for k in range(n)]
        # The adapter's items come in another order.
        of_adapter = marked(*after, turned=True) if adapter else None
        found.append(Outcome(Named(name), marked(*before), of_adapter, kept=False))  # type: ignore[arg-type]
    return found


def test_each_benchmark_counts_alike() -> None:
    (mean,) = means_of(outcomes(), confidence=0.9)

    assert mean["suites"] == list(MEANS["paper"])
    base = [sum(k % 2 for k in range(n)) / n for n in range(10, 15)]
    adapter = [sum(k % 4 == 1 for k in range(n)) / n for n in range(10, 15)]
    assert mean["base"] == pytest.approx(sum(base) / 5)
    assert mean["adapter"] == pytest.approx(sum(adapter) / 5)
    assert mean["difference"] == pytest.approx(mean["adapter"] - mean["base"])
    assert mean["kept"] == pytest.approx(mean["adapter"] / mean["base"])


def test_the_interval_of_the_difference_is_paired() -> None:
    (mean,) = means_of(outcomes(), confidence=0.9)

    changes = [[(k % 4 == 1) - (k % 2) for k in range(n)] for n in range(10, 15)]
    error = math.sqrt(sum(float(stats.sem(each)) ** 2 for each in changes)) / 5
    low, high = stats.norm.interval(0.9, loc=mean["difference"], scale=error)
    assert (mean["difference_low"], mean["difference_high"]) == pytest.approx((low, high))


def test_a_base_model_alone_has_its_own_mean() -> None:
    (mean,) = means_of(outcomes(adapter=False), confidence=0.95)

    assert "adapter" not in mean
    assert mean["base_low"] < mean["base"] < mean["base_high"]


def test_a_mean_of_which_a_benchmark_is_missing_is_none() -> None:
    assert means_of(outcomes()[1:], confidence=0.95) == []
    nothing = Outcome(Named(MEANS["paper"][0]), marked(), marked(), kept=False)  # type: ignore[arg-type]
    assert means_of([nothing, *outcomes()[1:]], confidence=0.95) == []


def test_one_item_has_no_interval() -> None:
    one = Outcome(Named(MEANS["paper"][0]), marked(1.0), marked(1.0), kept=False)  # type: ignore[arg-type]
    (mean,) = means_of([one, *outcomes()[1:]], confidence=0.95)

    assert mean["difference_low"] is None
    assert mean["base"] > 0
