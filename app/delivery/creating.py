"""Having an adapter exported: by a job of its own, so that it is queued and run as any other."""

from collections.abc import Collection

import structlog

from app.adapters import repository as adapters
from app.adapters.models import IMPORTED
from app.adapters.service import refuse_held_back
from app.base_models.catalogue import revision_for
from app.db.engine import Database
from app.delivery.requests import ExportCreate
from app.exports.errors import NotExportableError
from app.exports.schemas import ExportOptions
from app.ids import ProjectId
from app.jobs import adding
from app.jobs.models import EXPORTING
from app.jobs.schemas import JobRead
from app.jobs.states import JobKind
from app.projects.quotas import NONE, Quotas

log = structlog.get_logger(__name__)


def create_export(
    database: Database,
    *,
    project_id: ProjectId,
    adapter_id: str,
    request: ExportCreate,
    allowed_models: Collection[str],
    defaults: Quotas = NONE,
) -> JobRead:
    """Store a job that exports an adapter. As `app.jobs.service.create_job`, it tells nobody.

    Raises:
        AdapterNotFoundError: The project has no such adapter, or it was deleted.
        AdapterQuarantinedError: Its files are held back.
        NotExportableError: It was made elsewhere, and nothing says what it answers.
        ModelNotAllowedError: The base model of the adapter may not be used any more.
        QuotaExceededError: The project has used up what it may have; `defaults` holds for one
            without quotas of its own.
    """
    settings = request.model_dump(mode="json")
    with database.begin() as session:
        found = adding.standing(database, session, project_id=project_id, fact_set_id=None, defaults=defaults)
        adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
        refuse_held_back(adapter)
        if adapter.method_type == IMPORTED:
            raise NotExportableError(adapter.id)
        revision_for(adapter.base_model, adapter.base_revision, allowed=allowed_models)
        job = adding.job_on(
            adapter,
            settings,
            {},
            project_id=project_id,
            now=found.now,
            kind=JobKind.EXPORT,
            fact_set_id=adapter.fact_set_id,
            evaluation={},
            export=ExportOptions(format=request.format).model_dump(mode="json"),
            min_worker_version=EXPORTING,
        )
        shown = adding.add_job(session, job, now=found.now)
    log.info("job.created", job_id=job.id, adapter_id=adapter.id, format=str(request.format))
    return shown
