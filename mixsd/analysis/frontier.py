"""What more naive tokens keep, and what they cost: memorisation against retention over `lam`.

Rows of a comparison that differ in `lam` and seed alone are a curve. Its knee is the point furthest
above the chord from the smallest `lam` to the largest, once both axes run from 0 to 1 (as in Satopaa
et al., Kneedle, 2011): before it more `lam` keeps much and costs little, behind it the reverse. Loads no
torch.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.results import Result
from mixsd.analysis.runs import Run
from mixsd.compare.statistics import over_seeds

NAME: Final = "frontier"
MEMORISED: Final[Mapping[str, str]] = {
    "recall": "recall of the training questions",
    "paraphrase": "recall of held-out paraphrases",
}
KEPT: Final[Mapping[str, tuple[str, float]]] = {
    "general": ("general knowledge", 1.0),
    "drift": ("drift, nats per token", -1.0),
}
"""What retention is measured by, and the sign that makes more of it better."""
_FEWEST: Final = 3
_FLAT: Final = 1e-9
_RESAMPLES: Final = 2000
_DEFINITION: Final = (
    "Each curve is of rows that differ in lam and seed alone. Both axes are scaled to run from 0 to 1 over "
    "the means of the curve; the knee is the point furthest above the straight line from the smallest lam to "
    "the largest, by its distance at right angles. Support is the share of resamples of seeds (2000, drawn "
    "with replacement, the same seeds for every lam where all have the same) in which that lam is the knee."
)


@dataclass(frozen=True, slots=True)
class Point:
    """A value of `lam`: what was memorised and what was kept, over seeds. More is better in both."""

    lam: float
    seeds: tuple[int, ...]
    across: tuple[float, ...]
    upwards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Knee:
    """Where a curve bends.

    Attributes:
        lam: Of the point; None if there is no bend.
        distance: To the chord, in units of the scaled axes.
        why: There is none.
    """

    lam: float | None
    distance: float | None
    why: str | None = None


def knee_of(lams: Sequence[float], across: Sequence[float], upwards: Sequence[float]) -> Knee:
    """Return the knee of a curve, see above.

    Args:
        lams: In rising order.
        across: What was memorised at each, more is better.
        upwards: What was kept at each, more is better.

    Example:
        >>> knee_of([0, 0.3, 0.7], [1.0, 0.9, 0.0], [0.2, 0.6, 0.7]).lam
        0.3
        >>> knee_of([0, 0.7], [1.0, 0.0], [0.2, 0.7]).why
        'a knee needs at least 3 values of lam, and there are 2'
    """
    if len(lams) < _FEWEST:
        return Knee(None, None, f"a knee needs at least {_FEWEST} values of lam, and there are {len(lams)}")
    scaled = [_scaled(values) for values in (across, upwards)]
    for values, name in zip(scaled, ("memorised", "kept"), strict=True):
        if values is None:
            return Knee(None, None, f"what is {name} is the same at every lam: there is no bend")
    x, y = (np.asarray(values, dtype=np.float64) for values in scaled if values is not None)
    right, up = x[-1] - x[0], y[-1] - y[0]
    length = math.hypot(right, up)
    if length < _FLAT:
        return Knee(None, None, "the smallest and the largest lam are one point: there is no chord")
    if right * up > 0:
        better, worse = (lams[-1], lams[0]) if right > 0 else (lams[0], lams[-1])
        return Knee(
            None, None, f"lam {better:g} is better than {worse:g} in both: nothing is traded, no bend"
        )
    # Both are goods, so that above is where more of both is, whichever way the chord runs.
    above = (right * (y - y[0]) - up * (x - x[0])) / length * (1.0 if right - up >= 0 else -1.0)
    best = int(above[1:-1].argmax()) + 1
    if above[best] <= _FLAT:
        return Knee(None, None, "no point lies above the line from the smallest lam to the largest: no bend")
    return Knee(lams[best], float(above[best]))


def _scaled(values: Sequence[float]) -> list[float] | None:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) for value in values] if high - low > _FLAT else None


def support(points: Sequence[Point], *, resamples: int = _RESAMPLES) -> dict[str, float] | None:
    """Return in which share of resamples each `lam` is the knee; what is left had none.

    None where a point has one seed alone: nothing says then how it varies.
    """
    if len(points) < _FEWEST or any(len(point.seeds) < 2 for point in points):
        return None
    dice = np.random.default_rng(20260516)
    paired = len({point.seeds for point in points}) == 1
    found: Counter[float] = Counter()
    for _ in range(resamples):
        shared = dice.integers(len(points[0].seeds), size=len(points[0].seeds))
        drawn = [
            shared if paired else dice.integers(len(point.seeds), size=len(point.seeds)) for point in points
        ]
        across = [fmean(point.across[k] for k in chosen) for point, chosen in zip(points, drawn, strict=True)]
        upwards = [
            fmean(point.upwards[k] for k in chosen) for point, chosen in zip(points, drawn, strict=True)
        ]
        knee = knee_of([point.lam for point in points], across, upwards)
        if knee.lam is not None:
            found[knee.lam] += 1
    return {f"{lam:g}": count / resamples for lam, count in sorted(found.items())}


def analyse_frontier(runs: Sequence[Run]) -> Result:
    """Return the curves of comparisons.

    Args:
        runs: Rows of other methods are no part of a curve.

    Raises:
        NotAnalysableError: No row is of the method `mixsd` and was evaluated.
    """
    families: dict[str, list[Run]] = {}
    for run in runs:
        if run.row is not None and run.kind == "mixsd":
            families.setdefault(_family(run), []).append(run)
    curves = [curve for rows in families.values() for curve in _curves(rows)]
    if not curves:
        raise NotAnalysableError(
            "the lam frontier needs a comparison (mixsd compare) with rows of the method mixsd that say what "
            "was memorised and what was kept"
        )
    body = {
        "title": "Memorisation against retention over lam",
        "definition": _DEFINITION,
        "notes": [],
        "confidence": runs[0].confidence,
        "curves": curves,
    }
    header = ("run", "methods", "memorised", "kept", "lam", "seeds", "memorised_mean", "kept_mean", "is_knee")
    return Result(NAME, body, header, list(_rows(curves)))


def _family(run: Run) -> str:
    """Return what rows of a curve have in common: their folder and settings, but for lam and seeds."""
    plan = (run.row or {})["plan"]
    method = {
        name: value for name, value in plan["method"].items() if name not in {"lam", "seed", "batch_facts"}
    }
    training = {name: value for name, value in plan.get("training", {}).items() if name != "seed"}
    retention = {name: value for name, value in training.get("retention", {}).items() if name != "seed"}
    return json.dumps([run.folder, method, training | {"retention": retention}], sort_keys=True)


def _curves(rows: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for memorised in MEMORISED:
        for kept, (_, sign) in KEPT.items():
            points = _points(rows, memorised, kept, sign)
            if points:
                yield _curve(rows, memorised, kept, sign, points)


def _points(rows: Sequence[Run], memorised: str, kept: str, sign: float) -> list[Point]:
    by_lam: dict[float, list[tuple[int, float, float]]] = {}
    for run in rows:
        across, upwards = (run.scores.get(suite, {}).get("adapter") for suite in (memorised, kept))
        if across is not None and upwards is not None:
            lam = float((run.row or {})["plan"]["method"]["lam"])
            by_lam.setdefault(lam, []).append((run.seed or 0, float(across), sign * float(upwards)))
    points = []
    for lam, found in sorted(by_lam.items()):
        seeds, across, upwards = zip(*sorted(found), strict=True)
        points.append(Point(lam, seeds, across, upwards))
    return points


def _curve(
    rows: Sequence[Run], memorised: str, kept: str, sign: float, points: Sequence[Point]
) -> dict[str, Any]:
    means = [(fmean(point.across), fmean(point.upwards)) for point in points]
    knee = knee_of([point.lam for point in points], [x for x, _ in means], [y for _, y in means])
    confidence = rows[0].confidence
    return {
        "run": rows[0].folder,
        "methods": list(dict.fromkeys(run.method for run in rows)),
        "memorised": memorised,
        "kept": kept,
        "kept_is_turned": sign < 0,
        "base": next((score["base"] for run in rows if (score := run.scores.get(kept))), None),
        "points": [
            {
                "lam": point.lam,
                "seeds": list(point.seeds),
                "memorised": _figure(point.across, 1.0, confidence),
                "kept": _figure(point.upwards, sign, confidence),
            }
            for point in points
        ],
        "knee": {"lam": knee.lam, "distance": knee.distance, "why": knee.why, "support": support(points)},
    }


def _figure(values: Sequence[float], sign: float, confidence: float) -> dict[str, Any]:
    """Return a mean over seeds with Student's interval, which needs two of them."""
    found = over_seeds([sign * value for value in values], confidence)
    return {"mean": found.mean, "interval": None if found.low is None else [found.low, found.high]}


def _rows(curves: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for curve in curves:
        for point in curve["points"]:
            yield (
                curve["run"],
                " ".join(curve["methods"]),
                curve["memorised"],
                curve["kept"],
                point["lam"],
                len(point["seeds"]),
                point["memorised"]["mean"],
                point["kept"]["mean"],
                int(point["lam"] == curve["knee"]["lam"]),
            )
