"""Use cases on evaluations. All of them only read."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.adapters.schemas import Summary
from app.db.engine import Database
from app.db.lists import Cut
from app.evaluations import repository
from app.evaluations.models import Evaluation, FactResult
from app.ids import ProjectId
from app.jobs.models import Job
from app.ledger.evaluation_schemas import EvaluationRead
from app.ledger.schemas import Counts, Outcome, ScoreRead


def list_evaluations(
    database: Database,
    cut: Cut[str],
    *,
    project_id: ProjectId,
    job_id: str | None,
    adapter_id: str | None,
) -> Sequence[EvaluationRead]:
    with database.read() as session:
        rows = repository.list_evaluations(
            session, cut, project_id=project_id, job_id=job_id, adapter_id=adapter_id
        )
        return _show(session, rows)


def get_evaluation(database: Database, *, project_id: ProjectId, evaluation_id: str) -> EvaluationRead:
    with database.read() as session:
        return _show(session, [repository.get_evaluation(session, evaluation_id, project_id=project_id)])[0]


def list_results(
    database: Database,
    cut: Cut[int],
    *,
    project_id: ProjectId,
    evaluation_id: str,
    outcome: Outcome | None,
) -> Sequence[FactResult]:
    with database.read() as session:
        found = repository.get_evaluation(session, evaluation_id, project_id=project_id)
        return repository.results_of(session, found.id, cut, outcome=outcome)


def _show(session: Session, rows: Sequence[Evaluation]) -> list[EvaluationRead]:
    ids = [row.id for row in rows]
    outcomes = repository.outcomes_of(session, ids)
    scores = repository.scores_by_evaluation(session, ids)
    jobs = select(Job.id, Job.fact_set_id).where(Job.id.in_([row.job_id for row in rows]))
    measured_on = {job_id: fact_set_id for job_id, fact_set_id in session.execute(jobs)}  # noqa: C416
    summaries = {row.id: Summary.model_validate(row.summary or {}) for row in rows}
    return [
        EvaluationRead(
            id=row.id,
            job_id=row.job_id,
            adapter_id=row.adapter_id,
            fact_set_id=measured_on.get(row.job_id) if row.job_id else None,
            confidence=summaries[row.id].confidence,
            mistakes=summaries[row.id].mistakes,
            gate=summaries[row.id].gate,
            counts=Counts.of(sum(outcomes[row.id].values()), outcomes[row.id]),
            scores=[ScoreRead.model_validate(score) for score in scores[row.id]],
            created_at=row.created_at,
        )
        for row in rows
    ]
