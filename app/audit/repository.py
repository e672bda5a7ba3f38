"""Rows of `audit_entries`."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry
from app.db.lists import Cut, cut_by
from app.ids import ProjectId


def add(session: Session, entry: AuditEntry) -> None:
    session.add(entry)


def list_entries(
    session: Session, cut: Cut[str], *, project_id: ProjectId, action: str | None
) -> Sequence[AuditEntry]:
    statement = select(AuditEntry).where(AuditEntry.project_id == project_id)
    if action is not None:
        statement = statement.where(AuditEntry.action == action)
    return session.scalars(cut_by(statement, AuditEntry.id, cut)).all()
