"""What clients send and receive about exports."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from app.exports.models import ExportFormat, ExportStatus
from app.ids import AdapterId, ExportId, JobId


class ExportOptions(BaseModel):
    """What an adapter is to be written as."""

    format: ExportFormat


class ParityStatus(StrEnum):
    """`not_checked`: the engine is not installed on the worker; `reasons` says so."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"


class ParityNoise(BaseModel):
    """How far readings without any adapter are apart, in nats per token of the worst text."""

    batching: Annotated[float | None, Field(description="The base model one by one, and side by side.")]
    engine: Annotated[float | None, Field(description="As the service loads it, and as the engine does.")]
    rounding: Annotated[
        float | None,
        Field(description="After the adapter was added in the export's type and taken off. Null: not added."),
    ]
    resolution: Annotated[float | None, Field(description="Spacing of float32 at the largest logit.")]
    floor: Annotated[float | None, Field(description="What all of it comes to.")]


class ParityChange(BaseModel):
    """An answer that is another one than the adapter's."""

    fact_key: str
    kind: Annotated[str, Field(description="`question`, `paraphrase` or `probe`.")]
    question: str
    adapter_answer: str
    export_answer: Annotated[str | None, Field(description="Null: the question does not fit.")]
    adapter_correct: bool
    export_correct: bool


class Parity(BaseModel):
    """What came of asking an export what its adapter was asked. Distances are nats per token."""

    status: ParityStatus
    engine: Annotated[str, Field(description="What loaded it, or would have.")]
    reasons: Annotated[list[str], Field(description="Why it failed, or was not checked.")] = []
    applied: Annotated[
        bool | None, Field(description="Whether the adapter has an effect. Null: on its base it has none.")
    ] = None
    shift: Annotated[float | None, Field(description="From the base model to the adapter.")] = None
    distance: Annotated[float | None, Field(description="From the adapter to the export.")] = None
    distance_to_base: Annotated[float | None, Field(description="From the base model to the export.")] = None
    allowed: Annotated[float, Field(description="How many times the floor of noise it may be.")] = 2.0
    noise: ParityNoise | None = None
    texts: Annotated[int, Field(description="Answers whose log-probabilities were compared.")] = 0
    asked: Annotated[int, Field(description="Questions of the ledger.")] = 0
    right: Annotated[int, Field(description="That the export answers rightly.")] = 0
    right_before: Annotated[int, Field(description="That the adapter does.")] = 0
    changed: Annotated[int, Field(description="Answers with another wording.")] = 0
    facts_changed: Annotated[list[str], Field(description="Keys of facts whose outcome has changed.")] = []
    changes: Annotated[list[ParityChange], Field(description="The first hundred.")] = []


_EXAMPLE: Final[dict[str, Any]] = {
    "id": "exp_019ab3c4d5e67f8091a2b3c4d5e6f70f",
    "adapter_id": "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a",
    "job_id": "job_019ab3c4d5e67f8091a2b3c4d5e6f708",
    "format": "merged",
    "status": "ready",
    "dtype": "bfloat16",
    "sha256": "0" * 64,
    "bytes": 270000000,
    "parity": {
        "status": "passed",
        "engine": "transformers",
        "applied": True,
        "shift": 2.1,
        "distance": 0.004,
        "distance_to_base": 2.1,
        "noise": {"batching": 0, "engine": 0.005, "rounding": 0.004, "resolution": 0.000001, "floor": 0.009},
        "texts": 24,
        "asked": 96,
        "right": 90,
        "right_before": 90,
        "changed": 1,
    },
    "created_at": "2026-11-24T10:00:00Z",
}


class ExportRead(BaseModel):
    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: ExportId
    adapter_id: AdapterId
    job_id: JobId | None
    format: ExportFormat
    status: Annotated[
        ExportStatus, Field(description="`unusable`: parity failed; it is sent with `unusable=true` alone.")
    ]
    dtype: Annotated[str, Field(description="Type of the weights: that of the base model's own files.")]
    sha256: Annotated[str, Field(description="Of the manifest, which lists every file with its own.")]
    bytes: int
    parity: Parity
    created_at: datetime


class ExportFileRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    path: str
    sha256: str
    bytes: int


class ExportFiles(BaseModel):
    """All files of an export; there are few."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"data": [{"path": "model.safetensors", "sha256": "0" * 64, "bytes": 269060552}]}]
        }
    )

    data: list[ExportFileRead]
