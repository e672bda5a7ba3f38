"""Which of several adapters for the same facts to take: memorisation against retention. Loads no torch.

Of those that keep what the base model knew, but for a margin, the one that memorised most is
recommended. An adapter that its gate held back is so only if all were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mixsd.analysis.frontier import knee_of
from mixsd.config import GateConfig
from mixsd.evaluation.score import Score

MEMORISED: Final = ("paraphrase", "recall")
"""Suites that say what was memorised, the one that says it best first: it was not trained on."""
KEPT: Final = ("general", "drift", "probe_neighbour")
"""Suites that say what was kept, in order of preference."""
MAX_DROP: Final = 0.05
"""The largest loss that is taken where no gate says another: five points, or nats per token of drift."""

_ALIKE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter, what was measured of it, and what its gate says if there is one."""

    variant: int
    label: str
    scores: Sequence[Score]
    gate: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """Where an adapter stands. More is better in `memorised` and `gained`, less in `loss`.

    Attributes:
        gained: How much more is memorised than the base model knew.
        loss: How much worse than the base model it keeps; negative if it is better.
        within: Whether that is at most the margin.
        on_frontier: Whether no other is better in one and as good in both.
    """

    candidate: Candidate
    memorised: float
    gained: float
    loss: float
    within: bool
    on_frontier: bool = False


def recommend(candidates: Sequence[Candidate], gate: GateConfig | None = None) -> dict[str, Any]:
    """Compare adapters; return the points, which one is recommended and why, as plain data.

    Args:
        candidates: At least one.
        gate: What all of them had to keep; its suite and its margin are taken if it is on one of `KEPT`.
    """
    memorised = _first_common(candidates, MEMORISED)
    wanted = (gate.suite, *KEPT) if gate and gate.suite in KEPT else KEPT
    kept = _first_common(candidates, wanted)
    max_drop = gate.max_drop if gate and gate.suite == kept else MAX_DROP
    points = _points(candidates, memorised, kept, max_drop)
    knee = _knee(points) if kept else None
    chosen, rule = _choose(points, knee, kept)
    return {
        "memorised": _axis(candidates, memorised or "recall"),
        "kept": _axis(candidates, kept) if kept else None,
        "max_drop": max_drop if kept else None,
        "points": [_shown(point, memorised, kept) for point in points],
        "knee": knee and knee.candidate.variant,
        "recommended": chosen.candidate.variant,
        "rule": rule,
        "why": _why(chosen, rule, points, memorised or "recall", kept, max_drop),
    }


def _choose(points: Sequence[Point], knee: Point | None, kept: str | None) -> tuple[Point, str]:
    if len(points) == 1:
        return points[0], "only"
    open_ = [point for point in points if point.candidate.gate != "failed"] or points
    if kept is None:
        return max(open_, key=lambda point: point.memorised), "memorised"
    useful = [point for point in open_ if point.within and point.gained > _ALIKE]
    if useful:
        most = max(point.memorised for point in useful)
        best = [point for point in useful if point.memorised > most - _ALIKE]
        return min(best, key=lambda point: point.loss), "margin"
    if knee in open_ and knee is not None:
        return knee, "knee"
    return max(open_, key=lambda point: point.gained - point.loss), "balance"


def _points(
    candidates: Sequence[Candidate], memorised: str | None, kept: str | None, max_drop: float
) -> list[Point]:
    points = []
    for each in candidates:
        learned, held = _score(each, memorised), _score(each, kept)
        loss = _loss(held)
        has = (learned.adapter or 0.0, learned.difference or 0.0) if learned else (0.0, 0.0)
        points.append(Point(each, *has, loss, held is not None and loss <= max_drop + _ALIKE))
    return [
        Point(
            each.candidate,
            each.memorised,
            each.gained,
            each.loss,
            each.within,
            not any(_beats(other, each) for other in points),
        )
        for each in points
    ]


def _beats(one: Point, other: Point) -> bool:
    no_worse = one.memorised >= other.memorised - _ALIKE and one.loss <= other.loss + _ALIKE
    return no_worse and (one.memorised > other.memorised + _ALIKE or one.loss < other.loss - _ALIKE)


def _knee(points: Sequence[Point]) -> Point | None:
    """Return the point at which the frontier bends, see `mixsd.analysis.frontier`."""
    front = sorted((p for p in points if p.on_frontier), key=lambda p: (p.memorised, p.loss))
    found = knee_of(range(len(front)), [p.memorised for p in front], [-p.loss for p in front])
    return None if found.lam is None else front[int(found.lam)]


def _first_common(candidates: Sequence[Candidate], suites: Sequence[str]) -> str | None:
    """Return the first suite that was measured of every candidate."""
    for suite in suites:
        if all((score := _score(each, suite)) and score.difference is not None for each in candidates):
            return suite
    return None


def _score(candidate: Candidate, suite: str | None) -> Score | None:
    return next((score for score in candidate.scores if score.suite == suite and score.n), None)


def _loss(score: Score | None) -> float:
    if score is None or score.difference is None:
        return 0.0
    return score.difference if score.lower_is_better else -score.difference


def _axis(candidates: Sequence[Candidate], suite: str) -> dict[str, Any]:
    score = _score(candidates[0], suite)
    return {
        "suite": suite,
        "metric": score.metric if score else "accuracy",
        "lower_is_better": score.lower_is_better if score else False,
        "base": score.base if score else None,
    }


def _shown(point: Point, memorised: str | None, kept: str | None) -> dict[str, Any]:
    each = point.candidate
    held = _score(each, kept)
    figures: dict[str, float | None] = {}
    for name, score in (("memorised", _score(each, memorised)), ("kept", held)):
        figures[name] = score.adapter if score else None
        figures[f"{name}_low"] = score.adapter_low if score else None
        figures[f"{name}_high"] = score.adapter_high if score else None
    return {
        "variant": each.variant,
        "label": each.label,
        **figures,
        "loss": point.loss if held else None,
        "within": point.within,
        "on_frontier": point.on_frontier,
        "gate": each.gate,
    }


def _why(
    chosen: Point, rule: str, points: Sequence[Point], memorised: str, kept: str | None, max_drop: float
) -> str:
    learned = f"{chosen.memorised:.1%} of {memorised}"
    lost = f"{_amount(chosen.loss, kept)} of {kept}" if kept else ""
    allowed = f"at most {_amount(max_drop, kept)} of {kept}"
    by_rule: Mapping[str, str] = {
        "only": f"there is no other; it memorised {learned}",
        "memorised": f"it memorised most, {learned}, and nothing was measured that can be lost",
        "margin": f"of the variants that lose {allowed} it memorised most, {learned}, and loses {lost}",
        "knee": f"no variant that loses {allowed} learned anything; the frontier bends at this one, which "
        f"memorised {learned} and loses {lost}",
        "balance": f"no variant that loses {allowed} learned anything; of this one what it learned less what "
        f"it lost is most: it memorised {learned} and loses {lost}",
    }
    failed = sum(point.candidate.gate == "failed" for point in points)
    if failed == len(points) > 1:
        return f"{by_rule[rule]}; the gate held back all of them"
    return f"{by_rule[rule]}; the gate held back {failed} of {len(points)}" if failed else by_rule[rule]


def _amount(value: float, suite: str | None) -> str:
    return f"{value:.3f} nats per token" if suite == "drift" else f"{value:.1%}"
