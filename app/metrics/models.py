"""What was measured while a job ran: series of numbers, a row for each point."""

from datetime import datetime

from sqlalchemy import ForeignKey, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.ids import JobId


class JobMetric(Base):
    """A point of a series. What a later attempt measures at a step replaces what stood there.

    `variant` tells the runs of one job apart that differ in a setting; a job with one run has 0.
    """

    __tablename__ = "job_metrics"

    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    variant: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    phase: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    value: Mapped[float]
    at: Mapped[datetime]

    @property
    def place(self) -> str:
        """Where the point stands in the list of its job's points; see `repository.list_points`."""
        return f"{self.name}:{self.variant}:{self.step}"
