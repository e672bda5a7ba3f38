"""Having an adapter measured again: by a job of its own, so that it is queued and run as any other."""

import hashlib
import json
from collections.abc import Collection
from datetime import datetime

import structlog

from app import tracing
from app.adapters import repository as adapters
from app.adapters.models import Adapter
from app.base_models.catalogue import revision_for
from app.db.engine import Database
from app.fact_sets import repository as fact_sets
from app.fact_sets.models import FactSet
from app.ids import JobId, ProjectId, new_id
from app.jobs import quotas
from app.jobs import repository as jobs
from app.jobs.models import GPU_QUEUE, MEASURING, Job
from app.jobs.schemas import JobRead
from app.jobs.service import check_gate
from app.jobs.states import JobKind, JobStatus
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
        SuiteNotMeasuredError: The gate is on a suite that the facts have no question of.
        ModelNotAllowedError: The base model of the adapter may not be used any more.
        QuotaExceededError: The project has used up what it may have; `defaults` holds for one
            without quotas of its own.
    """
    with database.begin() as session:
        now = database.now(session)
        quotas.check_may_queue(session, project_id, defaults, now=now)
        adapter = adapters.get_adapter(session, request.adapter_id, project_id=project_id)
        facts = request.fact_set_id or adapter.fact_set_id
        fact_set = fact_sets.get_fact_set(session, facts, project_id=project_id, hold=True)
        check_gate(session, request.evaluation.gate, fact_set)
        revision_for(adapter.base_model, adapter.base_revision, allowed=allowed_models)
        job = _new_job(request, adapter, fact_set, project_id=project_id, now=now)
        jobs.add_job(session, job, now=now)
        shown = JobRead.of(job, [], adapters=[], queue_position=jobs.place_of_due(session, job, now=now))
    log.info("job.created", job_id=job.id, adapter_id=adapter.id, fact_set_id=fact_set.id)
    return shown


def _new_job(
    request: EvaluationCreate, adapter: Adapter, fact_set: FactSet, *, project_id: ProjectId, now: datetime
) -> Job:
    settings = request.model_dump(mode="json")
    asked = json.dumps({**settings, "adapter": adapter.sha256, "facts": fact_set.sha256}, sort_keys=True)
    return Job(
        id=JobId(new_id("job", now=now)),
        kind=JobKind.EVALUATION,
        adapter_id=adapter.id,
        project_id=project_id,
        name=request.name,
        labels=settings["metadata"],
        fact_set_id=fact_set.id,
        base_model=adapter.base_model,
        base_revision=adapter.base_revision,
        method_type=adapter.method_type,
        method={},
        training={},
        evaluation=settings["evaluation"],
        request_sha256=hashlib.sha256(asked.encode()).hexdigest(),
        queue=GPU_QUEUE,
        priority=request.priority,
        gpus=1,
        traceparent=tracing.current(),
        status=JobStatus.QUEUED,
        attempt=0,
        min_worker_version=MEASURING,
        next_run_at=now,
        created_at=now,
    )
