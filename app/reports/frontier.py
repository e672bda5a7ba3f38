"""The variants of a job beside each other: what each memorised against what it kept.

Silent about a job with one variant.
"""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from app.ledger.frontier import Frontier, FrontierPoint
from app.reports import charts
from app.reports.charts import Axis
from app.reports.figures import figure, interval, is_share, suite
from app.reports.schemas import JobReport

HEADER: Final = ("variant", "memorised", "interval", "kept", "interval", "on the frontier", "recommended")

_SIZE: Final = (560, 330)


def frontier_of(report: JobReport) -> Frontier | None:
    """Return what the report says of the job's variants; None of a job with one."""
    return report.frontier


def said(frontier: Frontier) -> str:
    """Say which variant is recommended, and why."""
    named = {spot.variant: spot.label for spot in frontier.points}
    why = frontier.why.rstrip(".")
    return f"Recommended: {named.get(frontier.recommended, frontier.recommended)}. Why: {why}."


def rows(frontier: Frontier) -> list[tuple[str, ...]]:
    """Return the variants as cells of a table: see `HEADER`."""
    upward = is_share(frontier.memorised.metric)
    across = is_share(frontier.kept.metric) if frontier.kept else True
    return [
        (
            spot.label,
            figure(spot.memorised, share=upward),
            interval(spot.memorised_low, spot.memorised_high, share=upward),
            figure(spot.kept, share=across),
            interval(spot.kept_low, spot.kept_high, share=across),
            "yes" if spot.on_frontier else "no",
            "yes" if spot.variant == frontier.recommended else "",
        )
        for spot in frontier.points
    ]


def picture(frontier: Frontier) -> Markup | None:
    """Draw each variant with its intervals, those on the frontier joined; None if fewer than two can be."""
    spots = [spot for spot in frontier.points if spot.memorised is not None and spot.kept is not None]
    if frontier.kept is None or len(spots) < 2:
        return None
    width, height = _SIZE
    across = _axis([(spot.kept, spot.kept_low, spot.kept_high) for spot in spots], 64, width - 130)
    up = _axis([(spot.memorised, spot.memorised_low, spot.memorised_high) for spot in spots], height - 48, 16)
    parts = [_scales(frontier, across, up)]
    joined = sorted((spot.kept or 0.0, spot.memorised or 0.0) for spot in spots if spot.on_frontier)
    path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in joined)
    parts.append(Markup('<polyline class="joined" points="{}"/>').format(path))
    parts += [_spot(spot, across, up, chosen=spot.variant == frontier.recommended) for spot in spots]
    return charts.svg(width, height, "What each variant memorised against what it kept", parts)


def _axis(spans: Sequence[tuple[float | None, ...]], start: float, end: float) -> Axis:
    values = [value for span in spans for value in span if value is not None]
    return Axis.about(min(values), max(values), start, end)


def _scales(frontier: Frontier, across: Axis, up: Axis) -> Markup:
    kept = frontier.kept or frontier.memorised
    parts = []
    for axis, measured in ((across, kept), (up, frontier.memorised)):
        share = is_share(measured.metric)
        for tick in axis.ticks:
            label = f"{tick * 100:g}%" if share else f"{tick:g}"
            if axis is across:
                parts.append(charts.line(across.at(tick), up.end, across.at(tick), up.start, "grid"))
                parts.append(charts.text(across.at(tick), up.start + 16, label, "tick", "middle"))
            else:
                parts.append(charts.line(across.start, up.at(tick), across.end, up.at(tick), "grid"))
                parts.append(charts.text(across.start - 8, up.at(tick) + 4, label, "tick", "end"))
    middle = (across.start + across.end) / 2
    better = ", less is better" if kept.lower_is_better else ""
    parts.append(charts.text(middle, up.start + 36, f"kept: {suite(kept.suite)}{better}", "label", "middle"))
    parts.append(
        charts.text(across.start, up.end - 4, f"memorised: {suite(frontier.memorised.suite)}", "label")
    )
    return Markup().join(parts)


def _spot(spot: FrontierPoint, across: Axis, up: Axis, *, chosen: bool) -> Markup:
    x, y = across.at(spot.kept or 0.0), up.at(spot.memorised or 0.0)
    parts = []
    if spot.kept_low is not None and spot.kept_high is not None:
        parts.append(charts.line(across.at(spot.kept_low), y, across.at(spot.kept_high), y, "thin"))
    if spot.memorised_low is not None and spot.memorised_high is not None:
        parts.append(charts.line(x, up.at(spot.memorised_low), x, up.at(spot.memorised_high), "thin"))
    if chosen:
        parts.append(Markup('<circle class="ring" cx="{}" cy="{}" r="9"/>').format(f"{x:.1f}", f"{y:.1f}"))
    parts.append(Markup('<circle cx="{}" cy="{}" r="4.5"/>').format(f"{x:.1f}", f"{y:.1f}"))
    label = f"{spot.label}, recommended" if chosen else spot.label
    parts.append(charts.text(x + 12, y - 8, charts.shortened(label), "label"))
    return Markup().join(parts)
