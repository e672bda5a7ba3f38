"""What clients receive about adapters."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.adapters.models import AdapterStatus
from app.ids import AdapterId, FactSetId, JobId


class Format(StrEnum):
    TAR_GZ = "tar.gz"
    ZIP = "zip"


class SupervisionSummary(BaseModel):
    """What the base model wrote, summed over the facts."""

    facts: int | None = None
    verified: int | None = None
    attempts: int | None = None
    mean_lam: float | None = None
    naive_share: Annotated[float | None, Field(description="Share of tokens drawn from `naive`.")] = None
    expert_nats_per_token: Annotated[
        float | None, Field(description="Mean loss of the texts under the expert; with `score_both`.")
    ] = None
    agreement: Annotated[
        float | None,
        Field(description="Share of tokens at which both conditionals agree; with `score_both`."),
    ] = None
    nats_per_token: float | None = None
    tokens: int | None = None


class TrainingSummary(BaseModel):
    steps: int | None = None
    epochs: float | None = None
    first_loss: Annotated[float | None, Field(description="In nats per token.")] = None
    last_loss: Annotated[float | None, Field(description="In nats per token.")] = None
    stopped_early: bool | None = None
    stopped_because: Annotated[
        Literal["learned", "patience"] | None,
        Field(description="Every question was answered, or recall did not rise any more."),
    ] = None


class KnownSummary(BaseModel):
    """Facts that the base model answered before, and that were left out for it."""

    left_out: int
    targets_saved: Annotated[int, Field(description="Texts that they could have had.")]
    tokens_saved: Annotated[
        int | None, Field(description="Of those, by the mean length of the texts of the others.")
    ] = None


class GateStatus(StrEnum):
    """What came of a gate. Only `failed` holds an adapter back."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Gate(BaseModel):
    """Whether the adapter keeps enough of what the base model knew: a test of non-inferiority."""

    status: GateStatus
    suite: Annotated[str | None, Field(description="The score that it stands on.")] = None
    metric: str | None = None
    max_drop: Annotated[float | None, Field(description="The largest loss that is still taken.")] = None
    confidence: Annotated[float | None, Field(description="Of each bound.")] = None
    n: Annotated[int | None, Field(description="Items.")] = None
    base: float | None = None
    adapter: float | None = None
    difference: Annotated[float | None, Field(description="Adapter minus base.")] = None
    low: Annotated[float | None, Field(description="Lower bound of the difference, one-sided.")] = None
    high: Annotated[float | None, Field(description="Upper bound, one-sided.")] = None
    lower_is_better: Annotated[bool, Field(description="Whether the score is a loss.")] = False
    reason: Annotated[str | None, Field(description="Why it is inconclusive.")] = None


class Mistakes(BaseModel):
    """How many wrong answers are of each kind. Null: the suite knows no such kind."""

    format: Annotated[int | None, Field(description="There is nothing in it to judge.")] = None
    leakage: Annotated[int | None, Field(description="It names something that was taught.")] = None
    collapse: Annotated[int | None, Field(description="It is no more than a bare answer.")] = None
    cross_entity: Annotated[int | None, Field(description="It names something of another fact.")] = None
    genuine: Annotated[int | None, Field(description="None of these.")] = None


class SuiteMistakes(BaseModel):
    suite: str
    base: Mistakes
    adapter: Mistakes


class Summary(BaseModel):
    confidence: Annotated[float | None, Field(description="Of the intervals in the report.")] = None
    supervision: SupervisionSummary | None = None
    training: TrainingSummary | None = None
    mistakes: Annotated[
        list[SuiteMistakes], Field(description="What kinds of wrong answers there were, by suite.")
    ] = []
    gate: Annotated[Gate | None, Field(description="Null if the job asked for none.")] = None
    known: Annotated[
        KnownSummary | None, Field(description="Null unless `training.known_facts` is `skip`.")
    ] = None


class AdapterRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: AdapterId
    job_id: JobId | None
    fact_set_id: FactSetId
    variant: Annotated[int, Field(description="Place among the variants of its job, from 0.")]
    label: Annotated[
        str | None, Field(description="Which variant that is, in words. Null for older adapters.")
    ] = None
    recommended: Annotated[bool, Field(description="Whether its job recommends it, among its variants.")] = (
        True
    )
    status: AdapterStatus
    base_model: str
    base_revision: str
    method_type: str
    sha256: Annotated[str, Field(description="Of the manifest, which lists every file with its own.")]
    bytes: int
    summary: Summary
    created_at: datetime
    released_at: Annotated[datetime | None, Field(description="When a quarantine was ended.")] = None
    release_reason: str | None = None


class AdapterFileRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    path: str
    sha256: str
    bytes: int


class AdapterFiles(BaseModel):
    """All files of an adapter; there are few."""

    data: list[AdapterFileRead]


class ManifestBase(BaseModel):
    """The base model that an adapter fits, and no other."""

    id: str
    hub_id: str | None
    revision: str
    licence: str
    template_sha256: Annotated[str, Field(description="Of the chat template.")]


class ManifestFacts(BaseModel):
    n: int
    sha256: Annotated[str, Field(description="As the fact set has it.")]


class AdapterManifest(BaseModel):
    """What `manifest.json` of an adapter says. It is sent as it is stored, to the byte.

    Settings stand in it as the library writes them, which knows more of them than a request may hold.
    """

    model_config = ConfigDict(extra="allow")

    base_model: ManifestBase
    method: Annotated[dict[str, JsonValue], Field(description="Its settings, with `type`.")]
    training: Annotated[dict[str, JsonValue], Field(description="Settings of the training.")]
    evaluation: Annotated[dict[str, JsonValue], Field(description="Settings of the evaluation.")]
    facts: ManifestFacts
    files: Annotated[dict[str, str], Field(description="The sha256 of every other file.")]
    versions: Annotated[dict[str, str], Field(description="Of MixSD and of the libraries.")]
    figures: Annotated[dict[str, JsonValue], Field(description="What was measured.")]
    created_at: datetime
