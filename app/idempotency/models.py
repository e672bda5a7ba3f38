"""Answers that are kept for requests that come again."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.ids import ProjectId


class StoredAnswer(Base):
    """What the first request with an Idempotency-Key was answered.

    The row is written in the transaction of what the request did, so there is one without the other
    neither before nor after a crash.
    """

    __tablename__ = "idempotency_keys"

    project_id: Mapped[ProjectId] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    status_code: Mapped[int]
    location: Mapped[str | None]
    media_type: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
