"""HTTP face of evaluations: parse, call one use case, answer."""

from fastapi import APIRouter

from app.ids import EvaluationId
from app.ledger import evaluation_service as service
from app.ledger.evaluation_schemas import EvaluationRead
from app.ledger.schemas import FactResultRead, Outcome
from app.web.deps import DatabaseDep, ProjectDep
from app.web.paging import IdCutDep, NumberCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/evaluations", tags=["ledger"])


@router.get("", responses=problems(400))
def list_evaluations(
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: IdCutDep,
    job_id: str | None = None,
    adapter_id: str | None = None,
) -> Page[EvaluationRead]:
    """List evaluations with their scores, newest first."""
    found = service.list_evaluations(
        database, cut, project_id=project_id, job_id=job_id, adapter_id=adapter_id
    )
    return Page[EvaluationRead].of(found, cut)


@router.get("/{evaluation_id}", responses=problems(404))
def get_evaluation(
    evaluation_id: EvaluationId, project_id: ProjectDep, database: DatabaseDep
) -> EvaluationRead:
    """Read an evaluation: outcomes of facts, counted, and every score of base and adapter."""
    return service.get_evaluation(database, project_id=project_id, evaluation_id=evaluation_id)


@router.get("/{evaluation_id}/results", responses=problems(400, 404))
def list_evaluation_results(
    evaluation_id: EvaluationId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: NumberCutDep,
    outcome: Outcome | None = None,
) -> Page[FactResultRead]:
    """List the verdict on each fact, with the raw answers that it rests on."""
    rows = service.list_results(
        database, cut, project_id=project_id, evaluation_id=evaluation_id, outcome=outcome
    )
    return Page[FactResultRead].of([FactResultRead.of(row) for row in rows], cut, key="ord")
