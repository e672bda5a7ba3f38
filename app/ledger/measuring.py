"""Having an adapter measured again: by a job of its own, so that it is queued and run as any other."""

from collections.abc import Collection

import structlog
from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.models import Adapter
from app.base_models.catalogue import revision_for
from app.db.engine import Database
from app.evaluations.errors import FactsNotNamedError
from app.fact_sets import repository as fact_sets
from app.ids import ProjectId
from app.jobs import adding
from app.jobs.adding import Facts
from app.jobs.models import MEASURING
from app.jobs.schemas import JobRead
from app.jobs.service import check_gate
from app.jobs.states import JobKind
from app.ledger.evaluation_requests import EvaluationCreate
from app.projects.quotas import NONE, Quotas

log = structlog.get_logger(__name__)


def create_evaluation(
    database: Database,
    *,
    project_id: ProjectId,
    request: EvaluationCreate,
    allowed_models: Collection[str],
    defaults: Quotas = NONE,
) -> JobRead:
    """Store a job that measures an adapter. As `app.jobs.service.create_job`, it tells nobody.

    Raises:
        AdapterNotFoundError: The project has no such adapter, or it was deleted.
        FactSetNotFoundError: The project has no such fact set, or it was deleted.
        FactsNotNamedError: The request names no facts, and none are known that it was taught.
        SuiteNotMeasuredError: The gate is on a suite that the facts have no question of.
        ModelNotAllowedError: The base model of the adapter may not be used any more.
        QuotaExceededError: The project has used up what it may have; `defaults` holds for one
            without quotas of its own.
    """
    settings = request.model_dump(mode="json")
    with database.begin() as session:
        found = adding.standing(
            database, session, project_id=project_id, fact_set_id=request.fact_set_id, defaults=defaults
        )
        adapter = adapters.get_adapter(session, request.adapter_id, project_id=project_id)
        facts = found.facts or _facts(session, request, adapter, project_id=project_id)
        check_gate(session, request.evaluation.gate, facts.id)
        revision_for(adapter.base_model, adapter.base_revision, allowed=allowed_models)
        job = adding.job_on(
            adapter,
            settings,
            {"facts": facts.sha256},
            project_id=project_id,
            now=found.now,
            kind=JobKind.EVALUATION,
            fact_set_id=facts.id,
            evaluation=settings["evaluation"],
            min_worker_version=MEASURING,
        )
        shown = adding.add_job(session, job, now=found.now)
    log.info("job.created", job_id=job.id, adapter_id=adapter.id, fact_set_id=facts.id)
    return shown


def _facts(session: Session, request: EvaluationCreate, adapter: Adapter, *, project_id: ProjectId) -> Facts:
    """Return those that the adapter was taught, unless the request names others, which are not there."""
    wanted = request.fact_set_id or adapter.fact_set_id
    if wanted is None:
        raise FactsNotNamedError(adapter.id)
    stored = fact_sets.get_fact_set(session, wanted, project_id=project_id, hold=True)
    return Facts(stored.id, stored.sha256)
