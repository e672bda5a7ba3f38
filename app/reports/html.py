"""A report as one page that needs nothing else: no script, no font, no picture from elsewhere."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from app.reports import charts, figures, frontier, living, summary
from app.reports.schemas import Curve, JobReport
from app.reports.texts import visible

CSS: Final = files("app.reports").joinpath("templates/report.css").read_text(encoding="utf-8")
_DIGEST: Final = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
_ALLOWED: Final = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"

POLICY: Final = f"{_ALLOWED}; frame-ancestors 'none'; sandbox"
"""The page may have this one style and nothing else, and it belongs to no origin."""


def render(report: JobReport) -> str:
    """Return the page. Equal reports give equal pages."""
    return _environment().get_template("report.html.jinja").render(report=report, **_pictures(report))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        auto_reload=False,  # a process that was started before an upgrade stays as it was
    )
    environment.filters["score_cells"] = figures.score_cells
    environment.globals.update(
        figures=figures,
        summary=summary,
        variants=frontier,
        since=living,
        css=Markup(CSS),  # noqa: S704  a file of ours
        policy=_ALLOWED,
    )
    return environment


def _finalize(value: Any) -> Any:
    """Let nothing onto the page whose characters cannot be seen; markup is made by us alone."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _pictures(report: JobReport) -> dict[str, Any]:
    told = frontier.frontier_of(report)
    ended = [(name, count) for name, count, _ in figures.outcomes(report.counts) if count]
    return {
        "outcomes": charts.shares(ended) if ended else None,
        "outcome_rows": [
            (name.replace("_", " "), meaning, count)
            for name, count, meaning in figures.outcomes(report.counts)
        ],
        "frontier": told,
        "frontier_picture": frontier.picture(told) if told else None,
        "learned": _forests(report, "learned"),
        "kept": _forests(report, "kept"),
        "curves": [
            charts.lines(_named(curve), [(point.step, point.value) for point in curve.points])
            for curve in report.curves
            if len(curve.points) > 1
        ],
    }


def _named(curve: Curve) -> str:
    return f"{curve.name}, variant {curve.variant}" if curve.variant else curve.name


def _forests(report: JobReport, part: str) -> list[Markup]:
    """Draw the scores of a part: shares and losses apart, since they have no scale in common."""
    gate = report.gate
    mark: tuple[str, float] | None = None
    if gate is not None and gate.suite is not None and gate.max_drop is not None:
        mark = (gate.suite, gate.max_drop if gate.lower_is_better else -gate.max_drop)
    drawn = []
    for share in (True, False):
        scores = [
            score
            for score in summary.scores_in(report, part)
            if figures.is_share(score.metric) is share and score.difference is not None
        ]
        if scores:
            there = mark if mark and any(score.suite == mark[0] for score in scores) else None
            drawn.append(charts.forest(scores, share=share, gate=there))
    return drawn
