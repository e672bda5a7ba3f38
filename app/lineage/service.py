"""Where an adapter comes from: it looks at the adapter, its job and its fact set."""

from app.adapters import repository as adapters
from app.adapters.models import IMPORTED
from app.db.engine import Database
from app.fact_sets.models import FactSet, FactSetStatus
from app.ids import AdapterId, ProjectId
from app.jobs.models import Job
from app.lineage.schemas import (
    AdapterLineage,
    LineageBase,
    LineageFactSet,
    LineageJob,
    LineageMethod,
)


def lineage(database: Database, *, project_id: ProjectId, adapter_id: AdapterId) -> AdapterLineage:
    """Return what an adapter was made from. Rows of fact sets outlive their facts, those of jobs do not.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
    """
    with database.read() as session:
        adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
        job = None if adapter.job_id is None else session.get(Job, adapter.job_id)
        facts = None if adapter.fact_set_id is None else session.get_one(FactSet, adapter.fact_set_id)
        children = adapters.children_of(session, adapter.id)
    return AdapterLineage(
        adapter_id=adapter.id,
        sha256=adapter.sha256,
        status=adapter.status,
        created_at=adapter.created_at,
        released_at=adapter.released_at,
        release_reason=adapter.release_reason,
        imported=adapter.method_type == IMPORTED,
        job=None if job is None else _job(job),
        fact_set=None if facts is None else _fact_set(facts),
        base_model=LineageBase(id=adapter.base_model, revision=adapter.base_revision),
        method=LineageMethod(type=adapter.method_type, variant=adapter.variant),
        parent=adapter.parent_adapter_id,
        children=list(children),
    )


def _fact_set(facts: FactSet) -> LineageFactSet:
    return LineageFactSet(
        id=facts.id,
        name=facts.name,
        n_facts=facts.n_facts,
        sha256=facts.sha256,
        deleted=facts.status is FactSetStatus.DELETED,
    )


def _job(job: Job) -> LineageJob:
    return LineageJob(
        id=job.id,
        name=job.name,
        status=job.status,
        created_at=job.created_at,
        finished_at=job.finished_at,
    )
