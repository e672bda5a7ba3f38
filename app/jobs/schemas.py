"""What clients receive about jobs."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from app.adapters.repository import Made
from app.adapters.schemas import Gate
from app.exports.schemas import ExportOptions
from app.ids import AdapterId, CheckpointId, FactSetId, JobId
from app.jobs.forecast_schemas import ForecastRead
from app.jobs.models import Job, JobAttempt, JobPhase
from app.jobs.requests import EvaluationOptions, Methods, TrainingOptions
from app.jobs.states import OWNED, Action, JobKind, JobStatus, Phase, allowed_actions
from app.jobs.variants import variants_of


class ErrorCategory(StrEnum):
    """Who can do something about a failure."""

    USER = "user"
    SYSTEM = "system"
    CAPACITY = "capacity"


class JobError(BaseModel):
    """Why a job failed. Test `code`; show `message`."""

    category: ErrorCategory
    code: str
    message: str
    retryable: bool

    @classmethod
    def of(cls, job: Job) -> Self | None:
        if job.error_code is None:
            return None
        return cls(
            category=ErrorCategory(job.error_category or ErrorCategory.SYSTEM),
            code=job.error_code,
            message=job.error_message or job.error_code,
            retryable=bool(job.error_retryable),
        )


def gate_of(job: Job) -> Gate | None:
    """Return what came of a job's gate: null without one, and before the job has succeeded."""
    return Gate.model_validate({**(job.gate or {}), "status": job.gate_status}) if job.gate_status else None


def _runs(job: Job, row: JobPhase) -> bool:
    return job.status in OWNED and job.phase == row.phase


class PhaseProgress(BaseModel):
    phase: Phase
    done: int
    total: int
    unit: str
    rate: Annotated[float | None, Field(description="Units per second, lately.")]
    eta_seconds: Annotated[
        float | None,
        Field(description="Until the phase is done. Null while it does not run, or its rate is not known."),
    ]
    finished: bool

    @classmethod
    def of(cls, row: JobPhase, *, runs: bool) -> Self:
        """Show how far a phase has come. Of one that stands still nobody knows when it is done."""
        return cls(
            phase=row.phase,
            done=row.done,
            total=row.total,
            unit=row.unit,
            rate=row.rate,
            eta_seconds=row.eta_seconds if runs or row.finished_at is not None else None,
            finished=row.finished_at is not None,
        )


class JobVariant(BaseModel):
    """One of the ways in which a job teaches its facts, and the adapter that came of it."""

    variant: Annotated[int, Field(description="Its place, from 0.")]
    label: Annotated[str, Field(description="The method, and what sets it apart from the others.")]
    adapter_id: Annotated[
        AdapterId | None,
        Field(
            description="Null until the job has succeeded, and for a variant that got no text to train on."
        ),
    ]
    recommended: Annotated[bool, Field(description="Whether the job, once it has succeeded, recommends it.")]

    @classmethod
    def all_of(cls, job: Job, adapters: Sequence[Made]) -> list[Self]:
        made = {adapter.variant: adapter for adapter in adapters}
        return [
            cls(
                variant=variant.number,
                label=variant.label,
                adapter_id=made[variant.number].id if variant.number in made else None,
                recommended=variant.number in made and made[variant.number].recommended,
            )
            for variant in variants_of(job.method)
        ]


class AttemptOutcome(StrEnum):
    """How an attempt ended. `lost`: its worker died or was silent for too long."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class AttemptRead(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "attempt": 1,
                    "worker": "gpu-3",
                    "started_at": "2026-11-24T10:00:02Z",
                    "ended_at": "2026-11-24T10:09:40Z",
                    "outcome": "lost",
                }
            ]
        }
    )

    attempt: int
    worker: Annotated[str, Field(description="Host of the worker that had it last.")]
    started_at: datetime
    ended_at: Annotated[datetime | None, Field(description="Null while it may go on: also while paused.")]
    outcome: AttemptOutcome | None

    @classmethod
    def of(cls, row: JobAttempt) -> Self:
        """Show an attempt; of the name that its worker has there, the host."""
        return cls(
            attempt=row.attempt,
            worker=row.worker.partition(":")[0],
            started_at=row.started_at,
            ended_at=row.ended_at,
            outcome=AttemptOutcome(row.outcome) if row.outcome else None,
        )


class CheckpointRead(BaseModel):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "ckpt_019ab3c4d5e67f8091a2b3c4d5e6f70a",
                    "phase": "training",
                    "step": 40,
                    "bytes": 7340032,
                    "manifest_sha256": "0" * 64,
                    "created_at": "2026-11-24T10:05:00Z",
                }
            ]
        },
    )

    id: CheckpointId
    phase: Phase
    variant: Annotated[int, Field(description="Of the job, from 0.")] = 0
    step: Annotated[int, Field(description="Steps of the phase, for this variant, that are done with it.")]
    bytes: int
    manifest_sha256: Annotated[str, Field(description="Digest of the list of its files, with theirs.")]
    created_at: datetime


class JobRead(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "job_019ab3c4d5e67f8091a2b3c4d5e6f708",
                    "kind": "training",
                    "name": "Vorlund",
                    "status": "running",
                    "terminal": False,
                    "phase": "training",
                    "progress": [
                        {
                            "phase": "training",
                            "done": 40,
                            "total": 96,
                            "unit": "step",
                            "rate": 1.6,
                            "eta_seconds": 35.0,
                            "finished": False,
                        }
                    ],
                    "attempt": 1,
                    "queue_position": None,
                    "allowed_actions": ["cancel", "pause"],
                    "base_model": "smollm2-135m-instruct",
                    "revision": "q4_1-b179c952",
                    "fact_set_id": "fset_019ab3c4d5e67f8091a2b3c4d5e6f709",
                    "adapter_id": None,
                    "parent_adapter_id": None,
                    "variants": [{"variant": 0, "label": "mixsd", "adapter_id": None, "recommended": False}],
                    "method": {"type": "mixsd", "lam": 0.3},
                    "training": {"rank": 16},
                    "evaluation": {"general": True},
                    "export": None,
                    "priority": 0,
                    "metadata": {},
                    "wait_reason": None,
                    "error": None,
                    "gate": None,
                    "forecast": None,
                    "created_at": "2026-11-24T10:00:00Z",
                    "started_at": "2026-11-24T10:00:02Z",
                    "finished_at": None,
                }
            ]
        }
    )

    id: JobId
    kind: Annotated[
        JobKind,
        Field(description="`evaluation` measures `adapter_id`, `export` writes it: these make no adapter."),
    ]
    name: str | None
    status: JobStatus
    terminal: bool
    phase: Annotated[Phase | None, Field(description="What a running job does.")]
    progress: list[PhaseProgress]
    attempt: Annotated[int, Field(description="Rises when a worker is lost, and with a retry.")]
    queue_position: Annotated[int | None, Field(description="While queued: 1 is next. Null beyond 1000.")]
    allowed_actions: Annotated[list[Action], Field(description="What may be done to it as it stands.")]
    base_model: str
    revision: str | None
    fact_set_id: FactSetId
    adapter_id: Annotated[
        AdapterId | None,
        Field(
            description="What it made: of several, the recommended one, and null until it has succeeded. "
            "Of an evaluation, what it measures, and of an export, what it writes."
        ),
    ]
    parent_adapter_id: Annotated[
        AdapterId | None, Field(description="The adapter that it starts from; null for the base model.")
    ]
    variants: Annotated[list[JobVariant], Field(description="One for each adapter that the job makes.")]
    method: Annotated[Methods | None, Field(description="Null unless it trains, as is `training`.")]
    training: TrainingOptions | None
    evaluation: EvaluationOptions
    export: Annotated[ExportOptions | None, Field(description="What an export is to be. Null for others.")]
    priority: int
    metadata: dict[str, str]
    wait_reason: Annotated[str | None, Field(description="Why a queued job is held back.")]
    error: JobError | None
    gate: Gate | None
    forecast: Annotated[
        ForecastRead | None, Field(description="What was expected when it was made. Stays as it is.")
    ]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(
        cls, job: Job, phases: Sequence[JobPhase], *, adapters: Sequence[Made], queue_position: int | None
    ) -> Self:
        """Show a job; what its worker needs to hold it is not for clients."""
        trains = job.kind is JobKind.TRAINING
        return cls.model_validate(
            {
                "id": job.id,
                "kind": job.kind,
                "name": job.name,
                "status": job.status,
                "terminal": job.terminal,
                "phase": job.phase,
                "progress": [PhaseProgress.of(row, runs=_runs(job, row)) for row in phases],
                "attempt": job.attempt,
                "queue_position": queue_position,
                "allowed_actions": allowed_actions(job.status),
                "base_model": job.base_model,
                "revision": job.base_revision,
                "fact_set_id": job.fact_set_id,
                "adapter_id": job.adapter_id
                or next((adapter.id for adapter in adapters if adapter.recommended), None),
                "parent_adapter_id": job.parent_adapter_id,
                "variants": JobVariant.all_of(job, adapters),
                "method": job.method if trains else None,
                "training": job.training if trains else None,
                "evaluation": job.evaluation,
                "export": job.export,
                "priority": job.priority,
                "metadata": job.labels,
                "wait_reason": job.wait_reason,
                "error": JobError.of(job),
                "gate": gate_of(job),
                "forecast": job.forecast,
                "created_at": job.created_at,
                "started_at": job.started_at,
                "finished_at": job.finished_at,
            }
        )
