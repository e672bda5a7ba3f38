"""HTTP face of evaluations: parse, call one use case, answer."""

from fastapi import APIRouter, Request, Response, status

from app.idempotency.once import once
from app.ids import EvaluationId
from app.jobs.deps import HintDep
from app.jobs.schemas import JobRead
from app.ledger import evaluation_service as service
from app.ledger import measuring
from app.ledger.evaluation_requests import EvaluationCreate
from app.ledger.evaluation_schemas import EvaluationRead
from app.ledger.schemas import FactResultRead, Outcome
from app.projects.quotas import Quotas
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep
from app.web.paging import IdCutDep, NumberCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/evaluations", tags=["ledger"], route_class=StrictRoute)


@router.post("", status_code=status.HTTP_202_ACCEPTED, responses=problems(400, 404, 409, 413, 415, 422, 507))
@once
def create_evaluation(
    body: EvaluationCreate,
    request: Request,
    response: Response,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
    settings: SettingsDep,
) -> JobRead:
    """Have an adapter measured again, on the facts it was taught or others, by a job to poll.

    The job is that in `Location`. Once it has succeeded, `GET /evaluations?job_id=` has what was measured.
    """
    job = measuring.create_evaluation(
        database,
        project_id=project_id,
        request=body,
        allowed_models=settings.allowed_models,
        defaults=Quotas.by_default(settings),
    )
    hint()
    response.headers["Location"] = request.app.url_path_for("get_job", job_id=job.id)
    return job


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
