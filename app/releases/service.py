"""How an adapter is let go that a gate holds back, and how one is deleted: both touch its job's story."""

import structlog

from app.adapters import repository as adapters
from app.adapters.models import AdapterStatus
from app.adapters.schemas import AdapterRead
from app.db.engine import Database
from app.events.repository import NewEvent
from app.exports import repository as exports
from app.ids import AdapterId, ProjectId
from app.jobs import repository as jobs

log = structlog.get_logger(__name__)


def release_adapter(
    database: Database, *, project_id: ProjectId, adapter_id: AdapterId, reason: str | None
) -> AdapterRead:
    """Release a quarantined adapter and note it, in its row and among the events of its job.

    To release it once more changes nothing.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterNotQuarantinedError: It was never held back.
    """
    with database.begin() as session:
        now = database.now(session)
        job_id = adapters.get_adapter(session, adapter_id, project_id=project_id).job_id
        # The job first, as whoever deletes one: in the other order the two could wait for each other.
        has_job = job_id is not None and jobs.hold(session, job_id)
        adapter, changed = adapters.release(
            session, adapter_id, project_id=project_id, reason=reason, now=now
        )
        if changed and job_id is not None and has_job:
            said = f"the adapter was released{f': {reason}' if reason else ''}"
            data = {"adapter_id": adapter_id, "reason": reason}
            jobs.tell(session, job_id, [NewEvent("adapter.released", said, data=data)], now=now)
        shown = AdapterRead.model_validate(adapter)
    log.info("adapter.released", adapter_id=adapter_id, changed=changed)
    return shown


def delete_adapter(database: Database, *, project_id: ProjectId, adapter_id: AdapterId) -> None:
    """Delete an adapter with its exports, and note it among the events of its job.

    Its row stays, as what was measured refers to it. Blobs stay as well: others may share them, or be
    about to. Collecting the unreferenced ones takes a look at the store as a whole.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
    """
    with database.begin() as session:
        job_id = adapters.get_adapter(session, adapter_id, project_id=project_id).job_id
        has_job = job_id is not None and jobs.hold(session, job_id)  # first, as in `release_adapter`
        adapter = adapters.get_adapter(session, adapter_id, project_id=project_id, lock=True)
        adapters.delete_files(session, adapter.id)
        exports.delete_all_of(session, adapter.id)
        adapter.status = AdapterStatus.DELETED
        if job_id is not None and has_job:
            said = NewEvent("adapter.deleted", "the adapter was deleted", data={"adapter_id": adapter_id})
            jobs.tell(session, job_id, [said], now=database.now(session))
    log.info("adapter.deleted", adapter_id=adapter_id)
