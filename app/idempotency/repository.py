"""Rows of `idempotency_keys`."""

import hashlib
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from app.idempotency.models import StoredAnswer
from app.ids import ProjectId


def take(
    session: Session, project_id: ProjectId, key: str, *, moment: ColumnElement[datetime]
) -> datetime | None:
    """Take a key until the end of the transaction. None if another transaction has it, else the time.

    The lock goes with the connection, so that of a process that died is free at once. On SQLite a
    transaction that may write is alone anyway.
    """
    if session.get_bind().dialect.name == "sqlite":
        return session.scalars(select(moment)).one()
    digest = hashlib.sha256(f"idempotency {project_id} {key}".encode()).digest()
    number = int.from_bytes(digest[:8], signed=True)
    taken, now = session.execute(select(func.pg_try_advisory_xact_lock(number), moment)).one()
    return now if taken else None


def find(
    session: Session, project_id: ProjectId, key: str, *, now: datetime | ColumnElement[datetime]
) -> StoredAnswer | None:
    """Return the answer that is kept for a key."""
    mine = (StoredAnswer.project_id == project_id, StoredAnswer.key == key)
    return session.scalars(select(StoredAnswer).where(*mine, StoredAnswer.expires_at > now)).one_or_none()


def put(session: Session, answer: StoredAnswer) -> None:
    """Keep an answer, in place of one for the same key whose time is over."""
    mine = (StoredAnswer.project_id == answer.project_id, StoredAnswer.key == answer.key)
    session.execute(delete(StoredAnswer).where(*mine, StoredAnswer.expires_at <= answer.created_at))
    session.add(answer)


def forget_expired(session: Session, *, now: datetime) -> None:
    """Delete the answers whose time is over."""
    session.execute(delete(StoredAnswer).where(StoredAnswer.expires_at <= now))


def forget_location(session: Session, project_id: ProjectId, location: str) -> None:
    """Have answers point nowhere that pointed to a thing which is now deleted."""
    mine = (StoredAnswer.project_id == project_id, StoredAnswer.location == location)
    session.execute(update(StoredAnswer).where(*mine).values(location=None))
