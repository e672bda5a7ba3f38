"""Pictures of a report as SVG within the page: no script, no style of their own, every text escaped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from app.ledger.schemas import ScoreRead
from app.reports.figures import figure, interval, suite
from app.reports.texts import visible

Series = Sequence[tuple[int, float]]

_WIDTH: Final = 840
_LABELS: Final = 216
_FIGURES: Final = 240
_ROW: Final = 30
_LETTERS: Final = 30
"""Characters of a label that there is room for."""


def forest(scores: Sequence[ScoreRead], *, share: bool, gate: tuple[str, float] | None = None) -> Markup:
    """Draw differences of adapter and base with their intervals, a row each, about a line at 0.

    Args:
        scores: With a difference, all of them shares or all of them losses.
        share: Which of the two.
        gate: A suite and the difference beyond which a gate fails, which is marked in its row.
    """
    ends = [0.0, *([gate[1]] if gate else [])]
    for score in scores:
        ends += [value for value in (score.low, score.high, score.difference) if value is not None]
    axis = Axis.about(min(ends), max(ends), _LABELS, _WIDTH - _FIGURES)
    bottom = len(scores) * _ROW + 8
    parts = [_grid(axis, bottom, share=share)]
    for place, score in enumerate(scores):
        parts.append(_forest_row(score, axis, place * _ROW + _ROW // 2 + 4, share=share, gate=gate))
    title = "Differences of adapter and base model, with intervals"
    return svg(_WIDTH, bottom + 26, title, parts)


def _grid(axis: "Axis", bottom: int, *, share: bool) -> Markup:
    parts = []
    for tick in axis.ticks:
        kind = "zero" if tick == 0 else "grid"
        parts.append(line(axis.at(tick), 4, axis.at(tick), bottom, kind))
        label = _points(tick) if share else f"{tick:+g}".replace("-", "\u2212") if tick else "0"
        parts.append(text(axis.at(tick), bottom + 16, label, "tick", "middle"))
    return Markup().join(parts)


def _points(tick: float) -> str:
    return f"{tick * 100:+g}%".replace("-", "\u2212") if tick else "0"


def _forest_row(
    score: ScoreRead, axis: "Axis", y: int, *, share: bool, gate: tuple[str, float] | None
) -> Markup:
    parts = [text(_LABELS - 10, y + 4, shortened(suite(score.suite)), "label", "end")]
    if gate and gate[0] == score.suite:
        parts.append(line(axis.at(gate[1]), y - 12, axis.at(gate[1]), y + 12, "gate"))
    if score.low is not None and score.high is not None:
        parts.append(line(axis.at(score.low), y, axis.at(score.high), y, "span"))
        parts += [line(axis.at(end), y - 5, axis.at(end), y + 5, "span") for end in (score.low, score.high)]
    if score.difference is not None:
        parts.append(Markup('<circle cx="{}" cy="{}" r="4.5"/>').format(_round(axis.at(score.difference)), y))
    said = figure(score.difference, share=share, signed=True)
    parts.append(text(_WIDTH - _FIGURES + 16, y + 4, said, "value"))
    ends = f"[{interval(score.low, score.high, share=share, signed=True)}]" if score.low is not None else ""
    parts.append(text(_WIDTH - _FIGURES + 82, y + 4, ends, "ends"))
    return Markup().join(parts)


def lines(name: str, series: Series, *, width: int = 480, height: int = 210) -> Markup:
    """Draw one figure over the steps of a training. A single value is a dot."""
    left, top, bottom = 56, 22, height - 34
    steps, values = [step for step, _ in series], [value for _, value in series]
    across = Axis.about(min(steps), max(steps), left, width - 16, whole=True)
    up = Axis.about(min(0.0, *values), max(values), bottom, top)
    parts = [text(left, 14, shortened(name), "label")]
    for tick in up.ticks:
        parts.append(line(left, up.at(tick), width - 16, up.at(tick), "zero" if tick == 0 else "grid"))
        parts.append(text(left - 8, up.at(tick) + 4, f"{tick:g}", "tick", "end"))
    parts += [text(across.at(tick), bottom + 16, f"{tick:g}", "tick", "middle") for tick in across.ticks]
    parts.append(text((left + width - 16) / 2, height - 2, "step", "tick", "middle"))
    places = [(_round(across.at(step)), _round(up.at(value))) for step, value in series]
    path = " ".join(f"{x},{y}" for x, y in places)
    parts.append(Markup('<polyline points="{}"/>').format(path))
    if len(places) < 25:
        parts += [Markup('<circle cx="{}" cy="{}" r="3"/>').format(x, y) for x, y in places]
    said = f"{name} by step: from {values[0]:.4g} at step {steps[0]} to {values[-1]:.4g} at step {steps[-1]}"
    return svg(width, height, said, parts)


def shares(counts: Sequence[tuple[str, int]]) -> Markup:
    """Draw how the facts ended: a bar for each outcome that occurred, as long as its share."""
    total = sum(count for _, count in counts) or 1
    room = _WIDTH - _LABELS - 110
    parts = []
    for place, (name, count) in enumerate(counts):
        y = place * 26 + 4
        wide = max(2.0, room * count / total)
        parts.append(text(_LABELS - 10, y + 14, name.replace("_", " "), "label", "end"))
        parts.append(
            Markup('<rect class="bar" x="{}" y="{}" width="{}" height="18"/>').format(
                _LABELS, y, _round(wide)
            )
        )
        said = f"{count} ({count / total:.0%})"
        parts.append(text(_LABELS + wide + 8, y + 14, said, "value"))
    return svg(_WIDTH, len(counts) * 26 + 6, "How the facts ended", parts)


@dataclass(frozen=True, slots=True)
class Axis:
    """Values along a way from `start` to `end`, with round ones to write at it."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def about(cls, low: float, high: float, start: float, end: float, *, whole: bool = False) -> "Axis":
        """Return an axis that holds both values with round ends.

        Example:
            >>> Axis.about(0.13, 0.87, 0, 100).ticks
            (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
            >>> Axis.about(1, 4, 0, 100, whole=True).ticks
            (1, 2, 3, 4)
        """
        if high - low < 1e-12:
            low, high = (low - 1, high + 1) if whole else (low - 0.05, high + 0.05)
        step = _step((high - low) / 5)
        if whole:
            step = max(1, round(step))
            first = math.ceil(low / step)
            whole_ones = range(first, math.floor(high / step) + 1)
            return cls(low, high, start, end, tuple(place * step for place in whole_ones))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        digits = max(0, 2 - math.floor(math.log10(step)))
        ticks = tuple(round(tick * step, digits) + 0.0 for tick in range(first, last + 1))
        return cls(ticks[0], ticks[-1], start, end, ticks)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 with some zeros that is no less.

    Example:
        >>> [_step(value) for value in (0.13, 3, 70)]
        [0.2, 5.0, 100.0]
    """
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    """Return a picture that says in words what it shows."""
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, title)
    return head + Markup().join(parts) + Markup("</svg>")


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    places = [_round(value) for value in (x1, y1, x2, y2)]
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *places)


def text(x: float, y: float, said: str, kind: str, anchor: str = "start") -> Markup:
    drawn = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>')
    return drawn.format(kind, _round(x), _round(y), anchor, visible(said))


def shortened(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}\u2026"


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
