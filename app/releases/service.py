"""Letting an adapter go that its job's gate holds back. It touches the adapter and its job's story."""

import structlog

from app.adapters import repository as adapters
from app.adapters.schemas import AdapterRead
from app.db.engine import Database
from app.events.repository import NewEvent
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
