"""Rows of `evaluations`, `fact_results` and `scores`. Workers write them with the adapter."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.evaluations.models import Evaluation, FactResult, Score
from app.ids import AdapterId, EvaluationId


def of_adapter(session: Session, adapter_id: AdapterId) -> EvaluationId | None:
    """Return the evaluation that an adapter was published with."""
    statement = select(Evaluation.id).where(Evaluation.adapter_id == adapter_id).order_by(Evaluation.id)
    return session.scalars(statement.limit(1)).one_or_none()


def list_results(
    session: Session, adapter_id: AdapterId, cut: Cut[int], *, outcome: str | None
) -> Sequence[FactResult]:
    """Return the verdicts on the facts that an adapter was taught, in the order of their set."""
    statement = select(FactResult).where(FactResult.evaluation_id == of_adapter(session, adapter_id))
    if outcome is not None:
        statement = statement.where(FactResult.outcome == outcome)
    return session.scalars(cut_by(statement, FactResult.ord, cut)).all()


def count_outcomes(session: Session, evaluation_id: EvaluationId) -> Mapping[str, int]:
    statement = (
        select(FactResult.outcome, func.count())
        .where(FactResult.evaluation_id == evaluation_id)
        .group_by(FactResult.outcome)
    )
    return {outcome: count for outcome, count in session.execute(statement).all()}  # noqa: C416  rows are no pairs


def scores_of(session: Session, evaluation_id: EvaluationId) -> Sequence[Score]:
    statement = select(Score).where(Score.evaluation_id == evaluation_id)
    return session.scalars(statement.order_by(Score.suite, Score.metric)).all()
