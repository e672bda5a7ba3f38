"""Rows of `evaluations`, `fact_results` and `scores`. Workers write them with the adapter."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.models import Adapter
from app.db.lists import Cut, cut_by
from app.evaluations.errors import EvaluationNotFoundError
from app.evaluations.models import Evaluation, FactResult, Score
from app.ids import EvaluationId, JobId, ProjectId


def of_adapter(session: Session, adapter: Adapter) -> EvaluationId | None:
    """Return the evaluation that an adapter was published with; later ones are of other jobs."""
    statement = select(Evaluation.id).where(
        Evaluation.adapter_id == adapter.id, Evaluation.job_id == adapter.job_id
    )
    return session.scalars(statement.limit(1)).one_or_none()


def measured_by(session: Session, job_id: JobId) -> Evaluation | None:
    """Return what a job of the kind `evaluation` came to, once it has succeeded."""
    return session.scalars(select(Evaluation).where(Evaluation.job_id == job_id).limit(1)).one_or_none()


def get_evaluation(session: Session, evaluation_id: str, *, project_id: ProjectId) -> Evaluation:
    """Return one of the project's evaluations.

    Raises:
        EvaluationNotFoundError: The project has no such evaluation, though another one may.
    """
    statement = select(Evaluation).where(Evaluation.id == evaluation_id, Evaluation.project_id == project_id)
    found = session.scalars(statement).one_or_none()
    if found is None:
        raise EvaluationNotFoundError(evaluation_id)
    return found


def list_evaluations(
    session: Session,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    job_id: str | None = None,
    adapter_id: str | None = None,
) -> Sequence[Evaluation]:
    """Return the project's evaluations, by age."""
    statement = select(Evaluation).where(Evaluation.project_id == project_id)
    if job_id is not None:
        statement = statement.where(Evaluation.job_id == job_id)
    if adapter_id is not None:
        statement = statement.where(Evaluation.adapter_id == adapter_id)
    return session.scalars(cut_by(statement, Evaluation.id, cut)).all()


def of_job(session: Session, job_id: JobId, variant: int | None = None) -> EvaluationId | None:
    """Return the evaluation that a job's variant, or the recommended one, was published with.

    Of a job that made no adapter, the one that it made itself.
    """
    adapter = adapters.of_job(session, job_id, variant)
    if adapter is not None:
        return of_adapter(session, adapter)
    measured = None if variant is not None else measured_by(session, job_id)
    return measured.id if measured else None


def list_results(
    session: Session, job_id: JobId, cut: Cut[int], *, outcome: str | None, variant: int | None = None
) -> Sequence[FactResult]:
    """Return the verdicts on a job's facts, in the order of its fact set; see `of_job`."""
    return results_of(session, of_job(session, job_id, variant), cut, outcome=outcome)


def results_of(
    session: Session, evaluation_id: EvaluationId | None, cut: Cut[int], *, outcome: str | None
) -> Sequence[FactResult]:
    """Return the verdicts of an evaluation, in the order of the fact set; none of no evaluation."""
    statement = select(FactResult).where(FactResult.evaluation_id == evaluation_id)
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


def outcomes_of(
    session: Session, evaluation_ids: Sequence[EvaluationId]
) -> Mapping[EvaluationId, Mapping[str, int]]:
    """Return how many facts of each of these evaluations have which outcome."""
    statement = (
        select(FactResult.evaluation_id, FactResult.outcome, func.count().label("count"))
        .where(FactResult.evaluation_id.in_(evaluation_ids))
        .group_by(FactResult.evaluation_id, FactResult.outcome)
    )
    found: dict[EvaluationId, dict[str, int]] = {each: {} for each in evaluation_ids}
    for evaluation_id, outcome, count in session.execute(statement).all():
        found[evaluation_id][outcome] = count
    return found


def scores_by_evaluation(
    session: Session, evaluation_ids: Sequence[EvaluationId]
) -> Mapping[EvaluationId, Sequence[Score]]:
    """Return the scores of each of these evaluations."""
    statement = select(Score).where(Score.evaluation_id.in_(evaluation_ids))
    found: dict[EvaluationId, list[Score]] = {each: [] for each in evaluation_ids}
    for score in session.scalars(statement.order_by(Score.suite, Score.metric)):
        found[score.evaluation_id].append(score)
    return found
