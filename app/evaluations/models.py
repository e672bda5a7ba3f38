"""What was measured: verdicts on facts, and scores of suites."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject
from app.ids import AdapterId, EvaluationId, JobId, ProjectId


class Evaluation(Base):
    """One suite run on base and adapter. Inserted by the transaction that publishes its job.

    That is the job of the adapter, or another one that measured it again. `summary` is what is told of
    it as a whole, as in that of an adapter; null for one that is older than the column.
    """

    __tablename__ = "evaluations"

    id: Mapped[EvaluationId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[JobId | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    adapter_id: Mapped[AdapterId | None] = mapped_column(ForeignKey("adapters.id", ondelete="SET NULL"))
    summary: Mapped[JsonObject | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "job_id"), Index(None, "adapter_id"), Index(None, "project_id", "id"))


class FactResult(Base):
    """The verdict on one fact, with the raw answers of base and adapter that it rests on.

    `outcome` is one of the six of api.md section 6; `mixsd.evaluation.outcomes` decides it.
    `body` holds question, expected answer, and each question asked with both answers.
    """

    __tablename__ = "fact_results"

    evaluation_id: Mapped[EvaluationId] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True
    )
    ord: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    fact_key: Mapped[str]
    outcome: Mapped[str]
    body: Mapped[JsonObject]

    __table_args__ = (UniqueConstraint("evaluation_id", "fact_key"),)


class Score(Base):
    """One figure of an evaluation: base, adapter, their intervals, their paired difference and its own.

    `gained` and `lost` items, and the p value of McNemar's test on them, are of shares alone. What is
    null was not computed, say because the evaluation is older than the column.
    """

    __tablename__ = "scores"

    evaluation_id: Mapped[EvaluationId] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True
    )
    suite: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    base: Mapped[float | None]
    adapter: Mapped[float | None]
    difference: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    base_low: Mapped[float | None]
    base_high: Mapped[float | None]
    adapter_low: Mapped[float | None]
    adapter_high: Mapped[float | None]
    gained: Mapped[int | None]
    lost: Mapped[int | None]
    p_value: Mapped[float | None]
    lower_is_better: Mapped[bool] = mapped_column(default=False, server_default=false())
