"""What happened to a job, in order. Rows are only ever added."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, enum_column
from app.ids import EventId, JobId


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(Base):
    """`seq` counts up without gaps within a job: it is taken under the lock on the job's row.

    `told` says that whoever asked to be told of such events was noted for it (`app.webhooks.outbox`).
    It is no place in a list: an event whose transaction ends late is found all the same.
    """

    __tablename__ = "events"

    id: Mapped[EventId] = mapped_column(primary_key=True)
    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    seq: Mapped[int]
    type: Mapped[str]
    attempt: Mapped[int]
    phase: Mapped[str | None]
    level: Mapped[Level] = mapped_column(enum_column(Level, "level"))
    message: Mapped[str]
    data: Mapped[JsonObject]
    created_at: Mapped[datetime]
    told: Mapped[bool] = mapped_column(default=False, server_default=true())

    __table_args__ = (
        UniqueConstraint("job_id", "seq"),
        Index("ix_events_untold", "id", postgresql_where=text("NOT told"), sqlite_where=text("told = 0")),
    )
