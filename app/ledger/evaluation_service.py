"""Use cases on evaluations. All of them only read."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.db.engine import Database
from app.db.lists import Cut
from app.evaluations import repository
from app.evaluations.models import Evaluation, FactResult
from app.ids import ProjectId
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
    return [
        EvaluationRead(
            id=row.id,
            job_id=row.job_id,
            adapter_id=row.adapter_id,
            counts=Counts.of(sum(outcomes[row.id].values()), outcomes[row.id]),
            scores=[ScoreRead.model_validate(score) for score in scores[row.id]],
            created_at=row.created_at,
        )
        for row in rows
    ]
