"""Use cases of the audit trail: an entry is written, and entries are listed."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.access import Caller
from app.audit import repository
from app.audit.models import AuditEntry
from app.audit.schemas import AuditEntryRead
from app.db.engine import Database
from app.db.lists import Cut
from app.ids import AuditId, ProjectId, new_id

log = structlog.get_logger(__name__)

_LONGEST = 200


def write(
    database: Database,
    *,
    now: datetime,
    caller: Caller,
    action: str,
    target: str | None,
    status: int,
    address: str | None,
    request_id: str,
) -> None:
    """Add an entry. Never raises: what it speaks of is done and is answered. The log says what is missing."""
    entry = AuditEntry(
        id=AuditId(new_id("aud", now=now)),
        at=now,
        project_id=caller.project_id,
        key_id=caller.key_id,
        action=action,
        target=target and target.replace("\0", "")[:_LONGEST],
        status=status,
        address=address and address[:64],
        request_id=request_id,
    )
    try:
        with database.begin() as session:
            repository.add(session, entry)
    except SQLAlchemyError as error:
        log.error("audit.not_written", action=action, target=entry.target, status=status, error=str(error))  # noqa: TRY400  one line says it all


def list_entries(
    database: Database,
    cut: Cut[str],
    *,
    caller: Caller,
    project_id: ProjectId | None,
    action: str | None,
) -> Sequence[AuditEntryRead]:
    """Return entries of the caller's project, or of the one that an operator names."""
    wanted = project_id or caller.project_id
    if wanted != caller.project_id and not caller.is_operator:
        return []
    with database.read() as session:
        rows = repository.list_entries(session, cut, project_id=wanted, action=action)
        return [AuditEntryRead.model_validate(row) for row in rows]
