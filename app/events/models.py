"""What happened to a job, in order. Rows are only ever added."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, enum_column
from app.ids import EventId, JobId


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(Base):
    """`seq` counts up without gaps within a job: it is taken under the lock on the job's row."""

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

    __table_args__ = (UniqueConstraint("job_id", "seq"),)
