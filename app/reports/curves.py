"""Figures of a training, step by step, thinned out to what a picture can show."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from sqlalchemy.orm import Session

from app.adapters.schemas import TrainingSummary
from app.ids import JobId
from app.metrics import repository as metrics
from app.reports.schemas import Curve, Point

MOST_POINTS: Final = 400
"""Points that a report has of a curve, about."""


def curves_of(session: Session, job_id: JobId, training: TrainingSummary | None) -> list[Curve]:
    """Return the series that were stored of a job, each thinned out.

    Of a job without any these are the losses of the first step and the last.
    """
    rows = metrics.every_point(session, job_id)
    stored = [
        curve(name, [(row.step, row.value) for row in points], variant=variant)
        for (name, variant), points in groupby(rows, key=lambda row: (row.name, row.variant))
    ]
    if stored:
        return stored
    if training is None or not training.steps or training.last_loss is None:
        return []
    ends = [(training.steps, training.last_loss)]
    if training.first_loss is not None and training.steps > 1:
        ends.insert(0, (1, training.first_loss))
    return [curve("loss", ends)]


def curve(name: str, series: Iterable[tuple[int, float]], *, variant: int = 0) -> Curve:
    """Return a series as a curve: by step, without what is no number, and thinned out."""
    known = sorted((step, value) for step, value in series if math.isfinite(value))
    points = [Point(step=step, value=value) for step, value in thinned(known)]
    return Curve(name=name, variant=variant, points=points)


def thinned(series: Sequence[tuple[int, float]], most: int = MOST_POINTS) -> list[tuple[int, float]]:
    """Keep the ends, and of each stretch between the lowest and the highest point: peaks stay.

    Example:
        >>> thinned([(1, 1.0), (2, 9.0), (3, 0.0), (4, 2.0), (5, 1.0), (6, 1.0), (7, 5.0)], 4)
        [(1, 1.0), (2, 9.0), (3, 0.0), (7, 5.0)]
    """
    if len(series) <= most:
        return list(series)
    inner = series[1:-1]
    stretches = max(1, (most - 2) // 2)
    kept = [series[0]]
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, series[-1]]
