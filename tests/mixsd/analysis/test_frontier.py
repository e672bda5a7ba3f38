"""Knees of curves that are drawn by hand."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.frontier import Point, analyse_frontier, knee_of, support
from mixsd.analysis.runs import Run

LAMS = [0.0, 0.3, 0.5, 0.7]


def test_the_knee_is_the_point_furthest_above_the_chord() -> None:
    knee = knee_of(LAMS, [1.0, 0.96, 0.8, 0.2], [0.2, 0.5, 0.6, 0.65])

    # Scaled (1, 0), (0.95, 0.667), (0.75, 0.889), (0, 1); the chord is x + y = 1.
    assert knee.lam == 0.5
    assert knee.distance == pytest.approx((0.75 + 8 / 9 - 1) / math.sqrt(2))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_knee_does_not_depend_on_units_or_on_the_way_round(scale: float) -> None:
    across, upwards = [1.0, 0.96, 0.8, 0.2], [0.2, 0.5, 0.6, 0.65]

    plain = knee_of(LAMS, across, upwards)
    scaled = knee_of(LAMS, [scale * x - 3 * scale for x in across], upwards)
    turned = knee_of(LAMS, across[::-1], upwards[::-1])

    assert scaled.lam == plain.lam
    assert scaled.distance == pytest.approx(plain.distance)
    assert turned.lam == 0.3
    assert turned.distance == pytest.approx(plain.distance)


@pytest.mark.parametrize(
    ("lams", "across", "upwards", "why"),
    [
        ([0.0, 0.3], [1, 0], [0, 1], "at least 3 values of lam, and there are 2"),
        ([], [], [], "and there are 0"),
        ([0, 0.3, 0.7], [1.0, 0.5, 0.0], [0.0, 0.5, 1.0], "no point lies above the line"),
        ([0, 0.3, 0.7], [1.0, 0.2, 0.0], [0.0, 0.1, 1.0], "no point lies above the line"),
        ([0, 0.3, 0.7], [0.4, 0.4, 0.4], [0.0, 0.5, 1.0], "what is memorised is the same at every lam"),
        ([0, 0.3, 0.7], [1.0, 0.5, 0.0], [0.5, 0.5, 0.5], "what is kept is the same at every lam"),
        ([0, 0.3, 0.7], [0.0, 0.5, 1.0], [0.0, 0.9, 1.0], "lam 0.7 is better than 0 in both"),
        ([0, 0.3, 0.7], [1.0, 0.5, 0.0], [1.0, 0.9, 0.0], "lam 0 is better than 0.7 in both"),
        ([0, 0.3, 0.7], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0], "are one point"),
    ],
)
def test_a_curve_without_a_bend_says_why(
    lams: list[float], across: list[float], upwards: list[float], why: str
) -> None:
    knee = knee_of(lams, across, upwards)

    assert (knee.lam, knee.distance) == (None, None)
    assert why in (knee.why or "")


def points(spread: float, seeds: tuple[int, ...] = (0, 1, 2)) -> list[Point]:
    signs = [-1.0, 0.0, 1.0][: len(seeds)]
    means = zip(LAMS, [1.0, 0.95, 0.5, 0.0], [0.0, 0.9, 0.95, 1.0], strict=True)
    return [
        Point(
            lam, seeds, tuple(x + spread * sign for sign in signs), tuple(y + spread * sign for sign in signs)
        )
        for lam, x, y in means
    ]


def test_support_is_whole_where_seeds_agree_and_less_where_they_do_not() -> None:
    assert support(points(0.0)) == {"0.3": 1.0}
    noisy = points(0.0)
    noisy[2] = replace(noisy[2], across=(0.5, 0.5, 1.2))

    found = support(noisy)

    assert found is not None
    assert set(found) == {"0.3", "0.5"}
    # With 0.5 + 0.7 k / 3 memorised, 0.5 is above 0.3 from two draws of the third seed of three on: 7 of 27.
    assert found["0.5"] == pytest.approx(7 / 27, abs=4 * math.sqrt(7 / 27 * 20 / 27 / 2000))
    assert sum(found.values()) == pytest.approx(1.0)


def test_a_shift_that_seeds_share_moves_no_knee() -> None:
    """Each seed lifts all points alike, and resamples draw the same seeds for all of them."""
    assert support(points(0.4)) == {"0.3": 1.0}


def test_one_seed_or_two_points_have_no_support() -> None:
    assert support(points(0.0, seeds=(0,))) is None
    assert support(points(0.0)[:2]) is None


def row(lam: float, seed: int, recall: float, general: float, **method: Any) -> Run:
    scores = {
        "recall": {"base": 0.0, "adapter": recall},
        "general": {"base": 0.7, "adapter": general},
        "drift": {"base": 0.6, "adapter": 1.3 - general},
    }
    settings = {"type": "mixsd", "lam": lam, "seed": seed, "rewordings": 0, **method}
    plan = {"method": settings, "training": {"seed": seed, "retention": {"type": "none", "seed": seed}}}
    return Run(
        folder="out",
        method=f"mixsd-lam{lam:g}",
        kind=settings["type"],
        seed=seed,
        prompt_style="natural",
        records=None,
        adapter=None,
        scores=scores,
        row={"plan": plan},
    )


ROWS = [
    row(lam, seed, recall + 0.02 * seed, general)
    for lam, recall, general in ((0.3, 0.9, 0.6), (0.0, 0.95, 0.2), (0.7, 0.1, 0.65))
    for seed in (0, 1)
]


def test_rows_of_a_comparison_are_curves() -> None:
    body = analyse_frontier([*ROWS, replace(ROWS[0], kind="sft")]).body

    by_pair = {(curve["memorised"], curve["kept"]): curve for curve in body["curves"]}
    assert set(by_pair) == {("recall", "general"), ("recall", "drift")}
    curve = by_pair["recall", "general"]
    assert [point["lam"] for point in curve["points"]] == [0.0, 0.3, 0.7]
    assert [point["seeds"] for point in curve["points"]] == [[0, 1]] * 3
    assert curve["knee"]["lam"] == 0.3
    assert curve["knee"]["support"] == {"0.3": 1.0}
    memorised = curve["points"][1]["memorised"]
    assert memorised["mean"] == pytest.approx(0.91)
    assert memorised["interval"] == pytest.approx([0.91 - 12.7062 * 0.01, 0.91 + 12.7062 * 0.01], abs=1e-5)
    drift = by_pair["recall", "drift"]
    assert drift["kept_is_turned"]
    assert [point["kept"]["mean"] for point in drift["points"]] == pytest.approx([1.1, 0.7, 0.65])
    assert drift["knee"]["lam"] == 0.3


def test_what_differs_in_more_than_lam_is_another_curve() -> None:
    body = analyse_frontier([*ROWS, row(0.3, 0, 0.9, 0.7, rewordings=4)]).body

    sizes = [len(curve["points"]) for curve in body["curves"] if curve["kept"] == "general"]
    assert sizes == [3, 1]


def test_a_row_without_scores_is_no_point() -> None:
    lost = copy.copy(ROWS[0])
    body = analyse_frontier([*ROWS[2:], replace(lost, scores={})]).body

    assert [point["lam"] for point in body["curves"][0]["points"]] == [0.0, 0.7]
    assert "at least 3 values of lam" in body["curves"][0]["knee"]["why"]


@pytest.mark.parametrize("runs", [[replace(ROWS[0], row=None)], [replace(ROWS[0], kind="sft")], []])
def test_without_rows_of_mixsd_there_is_no_frontier(runs: list[Run]) -> None:
    with pytest.raises(NotAnalysableError, match="needs a comparison"):
        analyse_frontier(runs)
