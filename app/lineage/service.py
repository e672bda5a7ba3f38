"""Where an adapter comes from: it looks at the adapter, its job and its fact set."""

from app.adapters import repository as adapters
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
        fact_set = session.get_one(FactSet, adapter.fact_set_id)
    return AdapterLineage(
        adapter_id=adapter.id,
        sha256=adapter.sha256,
        status=adapter.status,
        created_at=adapter.created_at,
        released_at=adapter.released_at,
        release_reason=adapter.release_reason,
        job=None if job is None else _job(job),
        fact_set=LineageFactSet(
            id=fact_set.id,
            name=fact_set.name,
            n_facts=fact_set.n_facts,
            sha256=fact_set.sha256,
            deleted=fact_set.status is FactSetStatus.DELETED,
        ),
        base_model=LineageBase(id=adapter.base_model, revision=adapter.base_revision),
        method=LineageMethod(type=adapter.method_type, variant=adapter.variant),
    )


def _job(job: Job) -> LineageJob:
    return LineageJob(
        id=job.id,
        name=job.name,
        status=job.status,
        created_at=job.created_at,
        finished_at=job.finished_at,
    )
