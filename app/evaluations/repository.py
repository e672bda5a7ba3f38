"""Rows of `evaluations`, `fact_results` and `scores`. Workers write them with the adapter."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.db.lists import Cut, cut_by
from app.evaluations.models import Evaluation, FactResult, Score
from app.ids import AdapterId, EvaluationId, JobId


def of_adapter(session: Session, adapter_id: AdapterId) -> EvaluationId | None:
    """Return the evaluation that an adapter was published with."""
    statement = select(Evaluation.id).where(Evaluation.adapter_id == adapter_id).order_by(Evaluation.id)
    return session.scalars(statement.limit(1)).one_or_none()


def of_job(session: Session, job_id: JobId, variant: int | None = None) -> EvaluationId | None:
    """Return the evaluation that a job's variant, or the recommended one, was published with."""
    adapter = adapters.of_job(session, job_id, variant)
    return of_adapter(session, adapter.id) if adapter else None


def list_results(
    session: Session, job_id: JobId, cut: Cut[int], *, outcome: str | None, variant: int | None = None
) -> Sequence[FactResult]:
    """Return the verdicts on a job's facts, in the order of its fact set; see `of_job`."""
    statement = select(FactResult).where(FactResult.evaluation_id == of_job(session, job_id, variant))
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
