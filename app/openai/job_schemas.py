"""What clients receive about fine-tuning jobs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, JsonValue

from app.events.models import Event, Level
from app.ids import AdapterId, CheckpointId, EventId, FactSetId, FileId, JobId, ProjectId
from app.jobs.models import Checkpoint
from app.jobs.schemas import JobRead
from app.jobs.states import JobStatus, Phase
from app.openai.job_requests import SUPERVISED

TuningStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]

_STATUS: Final[Mapping[JobStatus, TuningStatus]] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.PAUSING: "running",  # it may yet succeed
    JobStatus.PAUSED: "paused",
    JobStatus.CANCELLING: "cancelled",  # nothing else can come of it
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
_LEVELS: Final[Mapping[Level, Literal["info", "warn", "error"]]] = {
    Level.INFO: "info",
    Level.WARNING: "warn",
    Level.ERROR: "error",
}
_MEASURED: Final = "job.metrics"


class FineTuningError(BaseModel):
    code: str
    message: str
    param: None


class FineTuningHyperparameters(BaseModel):
    n_epochs: int | None
    batch_size: int | None
    learning_rate_multiplier: float | None


class FineTuningJob(BaseModel):
    id: JobId
    object: Literal["fine_tuning.job"]
    created_at: int
    finished_at: int | None
    estimated_finish: Annotated[None, Field(description="Our own API has forecasts.")]
    status: TuningStatus
    error: FineTuningError | None
    model: str
    fine_tuned_model: Annotated[
        AdapterId | None, Field(description="The adapter, once the job has succeeded: of several, the best.")
    ]
    training_file: Annotated[
        FileId | FactSetId, Field(description="Of a job whose facts came otherwise: its fact set.")
    ]
    validation_file: None
    result_files: Annotated[list[FileId], Field(max_length=0, description="Our own API has reports.")]
    hyperparameters: FineTuningHyperparameters
    method: Annotated[
        dict[str, JsonValue], Field(description="`type`, and its settings under the name of the type.")
    ]
    trained_tokens: None
    seed: int
    integrations: Annotated[list[JsonValue], Field(max_length=0)]
    metadata: dict[str, str]
    organization_id: Annotated[ProjectId, Field(description="The project.")]
    suffix: Annotated[str | None, Field(description="Beyond OpenAI's: the name of the job.")]

    @classmethod
    def of(cls, job: JobRead, *, project_id: ProjectId, file_id: FileId | None) -> Self:
        how = _hyperparameters_of(job)
        return cls(
            id=job.id,
            object="fine_tuning.job",
            created_at=_seconds(job.created_at),
            finished_at=job.finished_at and _seconds(job.finished_at),
            estimated_finish=None,
            status=status_of(job.status, job.phase),
            error=job.error and FineTuningError(code=job.error.code, message=job.error.message, param=None),
            model=job.base_model,
            fine_tuned_model=job.adapter_id,
            training_file=file_id or job.fact_set_id,
            validation_file=None,
            result_files=[],
            hyperparameters=how,
            method=_method_of(job, how),
            trained_tokens=None,
            seed=job.training.seed if job.training else 0,
            integrations=[],
            metadata=job.metadata,
            organization_id=project_id,
            suffix=job.name,
        )


def status_of(status: JobStatus, phase: Phase | None) -> TuningStatus:
    """Return what OpenAI calls it.

    Example:
        >>> status_of(JobStatus.RUNNING, Phase.PREPARING), status_of(JobStatus.CANCELLING, Phase.TRAINING)
        ('validating_files', 'cancelled')
    """
    if status is JobStatus.RUNNING and phase in {None, Phase.PREPARING}:
        return "validating_files"
    return _STATUS[status]


def _hyperparameters_of(job: JobRead) -> FineTuningHyperparameters:
    training = job.training
    return FineTuningHyperparameters(
        n_epochs=training and training.epochs,
        batch_size=training and training.batch_size,
        learning_rate_multiplier=training and training.learning_rate_multiplier,
    )


def _method_of(job: JobRead, how: FineTuningHyperparameters) -> dict[str, JsonValue]:
    """Return the method in OpenAI's form; of a job with several, only what they are called."""
    told: dict[str, JsonValue] = {"hyperparameters": how.model_dump(mode="json")}
    if job.method is None or isinstance(job.method, list):
        types = dict.fromkeys(method.type for method in job.method or ())
        return {"type": "+".join(types)}
    if job.method.type == "sft":
        return {"type": SUPERVISED, SUPERVISED: told}
    settings: dict[str, Any] = job.method.model_dump(mode="json", exclude={"type"})
    return {"type": job.method.type, job.method.type: {**settings, **told}}


class FineTuningEvent(BaseModel):
    id: EventId
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: Annotated[
        dict[str, JsonValue], Field(description="What our own API says of it; `event` is its type there.")
    ]

    @classmethod
    def of(cls, row: Event) -> Self:
        return cls(
            id=row.id,
            object="fine_tuning.job.event",
            created_at=_seconds(row.created_at),
            level=_LEVELS[row.level],
            message=row.message,
            type="metrics" if row.type == _MEASURED else "message",
            data={**row.data, "event": row.type},
        )


class FineTuningMetrics(BaseModel):
    step: int
    train_loss: Annotated[float | None, Field(description="In nats per token, of that step.")]


class FineTuningCheckpoint(BaseModel):
    """From where a job can go on. No model of its own: `fine_tuned_model_checkpoint` cannot be asked."""

    id: CheckpointId
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuning_job_id: JobId
    fine_tuned_model_checkpoint: CheckpointId
    step_number: int
    metrics: FineTuningMetrics

    @classmethod
    def of(cls, row: Checkpoint, loss: float | None) -> Self:
        return cls(
            id=row.id,
            object="fine_tuning.job.checkpoint",
            created_at=_seconds(row.created_at),
            fine_tuning_job_id=row.job_id,
            fine_tuned_model_checkpoint=row.id,
            step_number=row.step,
            metrics=FineTuningMetrics(step=row.step, train_loss=loss),
        )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
