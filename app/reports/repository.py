"""Rows of `supervision`, as reports need them."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.ids import JobId
from app.jobs.models import Supervision


def texts_by_fact(
    session: Session, job_id: JobId, variant: int, cut: Cut[int], *, key: str | None = None
) -> list[Sequence[Supervision]]:
    """Return all texts of each fact that has any, by place; of one fact alone if `key` is given."""
    of_variant = (Supervision.job_id == job_id, Supervision.variant == variant)
    places = select(Supervision.ord).where(*of_variant).distinct()
    if key is not None:
        places = places.where(Supervision.fact_key == key)
    found = session.scalars(cut_by(places, Supervision.ord, cut)).all()
    statement = select(Supervision).where(*of_variant, Supervision.ord.in_(found))
    rows = session.scalars(statement.order_by(Supervision.ord, Supervision.generation)).all()
    return [list(texts) for _, texts in groupby(rows, key=lambda row: row.ord)]


def count_texts(session: Session, job_id: JobId, variant: int) -> tuple[int, int, int]:
    """Return how many texts there are, how many of them are trained on, and how many facts have any."""
    trained_on = func.count().filter(Supervision.verified)
    statement = select(func.count(), trained_on, func.count(Supervision.ord.distinct()))
    of_variant = (Supervision.job_id == job_id, Supervision.variant == variant)
    made, trained, facts = session.execute(statement.where(*of_variant)).one()
    return made, trained, facts
