"""Jobs, their attempts, phases and checkpoints."""

from datetime import datetime
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import JSON_COLUMN, Base, JsonList, JsonObject, enum_column
from app.ids import AdapterId, CheckpointId, FactSetId, JobId, ProjectId, WorkerId
from app.jobs.states import TERMINAL, JobKind, JobStatus, Phase

GPU_QUEUE: Final = "gpu"

SEVERAL_VARIANTS: Final = 2
"""The first version of workers that knows lists of methods and of `lam`."""
MEASURING: Final = 3
"""The first version of workers that knows jobs of the kind `evaluation`."""
CONTINUING: Final = 4
"""The first version of workers that starts from an adapter."""
EXPORTING: Final = 5
"""The first version of workers that knows jobs of the kind `export`."""
OPEN_RATES: Final = 6
"""The first version of workers that takes the learning rate of a model, and checks by `contains_strict`."""
MULTIPLIED_RATES: Final = 7
"""The first version of workers that multiplies the learning rate."""

_OWNED = "('running', 'pausing', 'cancelling')"
_TERMINAL = "('succeeded', 'failed', 'cancelled')"


class Job(Base):
    """One run: a base model, a fact set and a method give an adapter.

    One of the kind `evaluation` measures `adapter_id` on its fact set instead, and one of the kind
    `export` writes it as `export` says. These have no method, no training, and so no variants. No
    foreign key: rows of adapters stay, and have one to jobs.
    One with a `parent_adapter_id` starts from that adapter, which was taught `parent_fact_set_id`.

    The row is the truth about the job; messages only say "look". `fence` rises with every
    claim, loss and retry, and each write of a worker names the fence it holds, so a worker that
    lost its lease can write nothing. `attempt` is the count that a client sees: it does not rise
    when a worker hands a job back. `attempt_open` says that the next claim continues it.
    `gpus` is how many it wants where there are any. `traceparent` is the trace of the request that
    made it, to which its attempts belong.
    `forecast` is what was expected of it when it was made, `device` the kind that it ran on.
    """

    __tablename__ = "jobs"

    id: Mapped[JobId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str | None]
    labels: Mapped[JsonObject] = mapped_column("metadata")
    kind: Mapped[JobKind] = mapped_column(
        enum_column(JobKind, "kind", checked=False), default=JobKind.TRAINING, server_default="training"
    )
    adapter_id: Mapped[AdapterId | None]
    parent_adapter_id: Mapped[AdapterId | None]
    parent_fact_set_id: Mapped[FactSetId | None]
    fact_set_id: Mapped[FactSetId] = mapped_column(ForeignKey("fact_sets.id"))
    base_model: Mapped[str]
    base_revision: Mapped[str | None]
    method_type: Mapped[str]
    method: Mapped[JsonObject | JsonList] = mapped_column(JSON_COLUMN)
    training: Mapped[JsonObject]
    evaluation: Mapped[JsonObject]
    export: Mapped[JsonObject | None]
    request_sha256: Mapped[str]

    queue: Mapped[str] = mapped_column(default=GPU_QUEUE)
    priority: Mapped[int] = mapped_column(SmallInteger, default=0)
    status: Mapped[JobStatus] = mapped_column(enum_column(JobStatus, "status"))
    phase: Mapped[Phase | None] = mapped_column(enum_column(Phase, "phase"))

    attempt: Mapped[int] = mapped_column(default=0)
    attempt_open: Mapped[bool] = mapped_column(default=False)
    attempt_limit: Mapped[int] = mapped_column(default=20)
    crash_streak: Mapped[int] = mapped_column(SmallInteger, default=0)
    oom_count: Mapped[int] = mapped_column(SmallInteger, default=0)
    micro_batch_override: Mapped[int | None]

    gpus: Mapped[int] = mapped_column(SmallInteger, default=1)
    traceparent: Mapped[str | None]

    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    progress_at: Mapped[datetime | None]
    progress_mark: Mapped[int] = mapped_column(default=0)
    event_seq: Mapped[int] = mapped_column(default=0)

    next_run_at: Mapped[datetime]
    wait_reason: Mapped[str | None]
    min_worker_version: Mapped[int] = mapped_column(default=0)

    error_category: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    error_retryable: Mapped[bool | None]
    gate_status: Mapped[str | None]
    gate: Mapped[JsonObject | None]
    forecast: Mapped[JsonObject | None]
    device: Mapped[str | None]
    frontier: Mapped[JsonObject | None]

    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            f"(status IN {_OWNED}) = (lease_owner IS NOT NULL)"
            f" AND (status IN {_OWNED}) = (lease_expires_at IS NOT NULL)"
            f" AND (status IN {_OWNED}) = (heartbeat_at IS NOT NULL)",
            "lease_iff_owned",
        ),
        CheckConstraint(f"(status IN {_TERMINAL}) = (finished_at IS NOT NULL)", "finished_iff_terminal"),
        CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", "error_iff_failed"),
        Index(
            "ix_jobs_claim",
            "queue",
            text("priority DESC"),
            "next_run_at",
            "id",
            postgresql_where=text("status = 'queued'"),
            sqlite_where=text("status = 'queued'"),
        ),
        Index(None, "fact_set_id"),
        # On id alone: an index on a column that a heartbeat changes would cost every heartbeat a
        # new index entry, and few rows are owned.
        Index(
            "ix_jobs_owned",
            "id",
            postgresql_where=text(f"status IN {_OWNED}"),
            sqlite_where=text(f"status IN {_OWNED}"),
        ),
        Index(None, "project_id", "id"),
        Index(
            "ix_jobs_history",
            "base_model",
            "id",
            # Those of before there were forecasts tell nothing, and may be many.
            postgresql_where=text("status = 'succeeded' AND device IS NOT NULL"),
            sqlite_where=text("status = 'succeeded' AND device IS NOT NULL"),
        ),
        Index(
            "ix_jobs_unfinished",
            "project_id",
            "status",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        # For counting: a job comes into it once, when it ends.
        Index(
            "ix_jobs_finished",
            "status",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
            sqlite_where=text("finished_at IS NOT NULL"),
        ),
    )

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL


class JobAttempt(Base):
    """One attempt at a job, for the record."""

    __tablename__ = "job_attempts"

    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]


class WorkSpan(Base):
    """A time in which a worker held a job: what a project is charged for, also once the job is deleted.

    `ended_at` is null while it goes on, of which each job has one at most. `outcome` is the status
    that the job then had, and `lost` says that its worker did not give it up but went silent or died.
    """

    __tablename__ = "work_spans"

    job_id: Mapped[JobId] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id"))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    lost: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (Index(None, "project_id", "ended_at"), Index(None, "outcome", "lost"))


class JobPhase(Base):
    """How far a phase has come. A finished phase with the same input is not done again.

    `input_sha256` is the digest of all that decides the phase's result, `output_sha256` that of
    the blob with the result. `rate` is units per second. `seconds` is what the process that ended the
    phase took for it, from the unit `done_before` on; null unless that is worth a forecast. So are
    `host_bytes` and `device_bytes`, its peaks of memory in that process.
    """

    __tablename__ = "job_phases"

    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    phase: Mapped[Phase] = mapped_column(enum_column(Phase, "phase"), primary_key=True)
    attempt: Mapped[int]
    fence: Mapped[int]
    done: Mapped[int]
    total: Mapped[int]
    unit: Mapped[str]
    rate: Mapped[float | None]
    eta_seconds: Mapped[float | None]
    seconds: Mapped[float | None]
    host_bytes: Mapped[int | None]
    device_bytes: Mapped[int | None]
    done_before: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    input_sha256: Mapped[str | None]
    output_sha256: Mapped[str | None]
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_job_phases_finished",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
            sqlite_where=text("finished_at IS NOT NULL"),
        ),
    )


class JobResult(Base):
    """A file in the artifact store that a phase made for one of a job's variants, and finished.

    `input_sha256` is the digest of all that decides it: with the same input it is not made again.
    """

    __tablename__ = "job_results"

    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    phase: Mapped[Phase] = mapped_column(enum_column(Phase, "phase"), primary_key=True)
    variant: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    input_sha256: Mapped[str]
    sha256: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "sha256"),)


class Checkpoint(Base):
    """A checkpoint of a phase. Only what stands here may be resumed from.

    Inserted under the guard, so a worker that lost its lease cannot register one.
    """

    __tablename__ = "checkpoints"

    id: Mapped[CheckpointId] = mapped_column(primary_key=True)
    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    phase: Mapped[Phase] = mapped_column(enum_column(Phase, "phase"))
    variant: Mapped[int] = mapped_column(default=0, server_default="0")
    fence: Mapped[int]
    step: Mapped[int]
    input_sha256: Mapped[str]
    uri: Mapped[str]
    manifest_sha256: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("job_id", "phase", "variant", "fence", "step"),)


class Supervision(Base):
    """What the base model wrote for a fact. `body` is the record of `mixsd.generation`, whole.

    `variant` is the first that is trained on it, see `app.jobs.variants`. `pieces` is the text of
    each of its tokens; null for one that is older than the column.
    """

    __tablename__ = "supervision"

    job_id: Mapped[JobId] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    variant: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=0, server_default="0")
    fact_key: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ord: Mapped[int]
    verified: Mapped[bool]
    fence: Mapped[int]
    body: Mapped[JsonObject]
    pieces: Mapped[JsonList | None]

    __table_args__ = (Index(None, "job_id", "variant", "ord"),)


class Worker(Base):
    """A process that runs jobs, as it last reported. One that is silent for a lease is lost.

    `version` is that of its protocol, `release` that of its code. `device` is `cuda` or `cpu`, and
    `gpus` says what is known of its GPUs: index, name and memory of each, in bytes. `capacity` is
    how many GPUs a job may get from it, 0 without any.
    """

    __tablename__ = "workers"

    id: Mapped[WorkerId] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[int]
    release: Mapped[str]
    device: Mapped[str]
    capacity: Mapped[int] = mapped_column(SmallInteger)
    gpus: Mapped[JsonList]
    job_id: Mapped[JobId | None]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
