"""Rows of `evaluations`, `fact_results` and `scores`. Workers write them with the adapter."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.lists import Cut, cut_by
from app.evaluations.models import Evaluation, FactResult, Score
from app.ids import EvaluationId, JobId


def of_job(session: Session, job_id: JobId) -> EvaluationId | None:
    """Return the evaluation that a job was published with."""
    statement = select(Evaluation.id).where(Evaluation.job_id == job_id).order_by(Evaluation.id)
    return session.scalars(statement.limit(1)).one_or_none()


def list_results(
    session: Session, job_id: JobId, cut: Cut[int], *, outcome: str | None
) -> Sequence[FactResult]:
    """Return the verdicts on a job's facts, in the order of its fact set."""
    statement = select(FactResult).where(FactResult.evaluation_id == of_job(session, job_id))
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
