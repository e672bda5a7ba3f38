"""Means over seeds and their intervals, by hand."""

import math
import random
from typing import Any

import pytest

from mixsd.compare.statistics import Figure, over_seeds, summaries


def a_row(method: str, seed: int | None, recall: float, **more: Any) -> dict[str, Any]:
    score = {"n": 4, "base": 0.25, "adapter": recall, "low": recall - 0.35, "high": recall - 0.15}
    return {
        "method": method,
        "seed": seed,
        "steps": 8,
        "supervised": 4,
        "seconds": {"generating": 1.0, "training": 2.0, "checking": 9.0},
        "counts": {"facts": 4, "learned": round(4 * recall), "not_learned": 4 - round(4 * recall)},
        "scores": {"recall": score},
        **more,
    }


def values_of(figure: Figure) -> tuple[float | None, ...]:
    return figure.mean, figure.low, figure.high


def test_three_seeds_have_an_interval_of_student() -> None:
    figure = over_seeds([0.5, 0.7, 0.9], 0.95)

    half = 4.3026527 * 0.2 / math.sqrt(3)
    assert (figure.n, figure.over) == (3, "seeds")
    assert values_of(figure) == pytest.approx((0.7, 0.7 - half, 0.7 + half))


def test_one_seed_alone_has_none() -> None:
    assert over_seeds([0.5], 0.95) == Figure(0.5, 1)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    dice = random.Random(3)  # noqa: S311  samples, not secrets
    held = 0
    for _ in range(1000):
        figure = over_seeds([dice.gauss(2, 1) for _ in range(3)], 0.9)
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= 2 <= figure.high

    # Four standard deviations of a binomial share: 4 * sqrt(1000 * 0.9 * 0.1) = 38.
    assert abs(held - 900) <= 38


def test_a_method_with_several_seeds_has_its_mean_and_the_difference_to_the_base_model() -> None:
    rows = [a_row("sft", seed, recall) for seed, recall in ((0, 0.5), (1, 1.0))]

    (summary,) = summaries(rows, 0.95)

    recall = summary.figures["recall"]
    half = 12.7062 * 0.25  # t times the standard error
    assert (recall.mean, recall.n, recall.over, recall.base) == (0.75, 2, "seeds", 0.25)
    assert recall.high == pytest.approx(0.75 + half, abs=1e-4)
    difference = recall.less_base()
    assert difference is not None
    assert difference.mean == 0.5
    assert difference.low == pytest.approx(0.5 - half, abs=1e-4)
    assert summary.seeds == (0, 1)
    assert summary.counts == {"learned": 3.0, "not_learned": 1.0}


def test_one_seed_has_the_interval_of_its_questions() -> None:
    (summary,) = summaries([a_row("sft", 7, 0.75)], 0.95)

    recall = summary.figures["recall"]
    difference = recall.less_base()
    assert difference is not None
    assert (recall.n, recall.over, recall.base, difference.over) == (1, "run", 0.25, "run")
    assert values_of(recall) == pytest.approx((0.75, 0.65, 0.85))
    assert values_of(difference) == pytest.approx((0.5, 0.4, 0.6))
    assert summary.figures["steps"] == Figure(8, 1)
    assert summary.figures["seconds"].mean == 3.0  # checks are no part of a method


def test_what_no_row_has_is_left_out() -> None:
    rows = [
        a_row("sft", 0, 0.5, rewordings={"trained": {"n": 0, "right": 0}}),
        a_row(
            "mixsd", 0, 0.5, rewordings={"trained": {"n": 4, "right": 3}}, supervision={"nats_per_token": 2.0}
        ),
        a_row("in_context", None, 1.0, steps=None),
    ]

    sft, mixsd, shown = summaries(rows, 0.95)

    assert "rewordings" not in sft.figures
    assert mixsd.figures["rewordings"].mean == 0.75
    assert mixsd.figures["nats_per_token"].mean == 2.0
    assert "steps" not in shown.figures
    assert "drift" not in sft.figures


def test_rows_that_failed_count_for_nothing_and_methods_keep_their_order() -> None:
    rows = [
        {"method": "opsd", "seed": 0, "error": {"code": "x", "message": "y"}},
        a_row("sft", 0, 0.5, reached=True),
        a_row("mixsd", 0, 0.5, reached=False),
        a_row("sft", 1, 0.5, reached=False),
    ]

    assert [(each.method, each.seeds, each.reached) for each in summaries(rows, 0.95)] == [
        ("sft", (0, 1), 1),
        ("mixsd", (0,), 0),
    ]
