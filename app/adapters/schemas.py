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
    learning_rate: Annotated[
        float | None, Field(description="Peak of the schedule, also where the job left it to the model.")
    ] = None
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


class TaughtAnew(BaseModel):
    """Facts that are new since the parent, or changed, and how many of them the adapter answers."""

    facts: int
    learned: int


class ChangedSummary(TaughtAnew):
    previous_gone: Annotated[int, Field(description="Of these the adapter no longer gives the old answer.")]
    previous_there: Annotated[
        int,
        Field(description="Of these it does. Where the new answer holds the old one, nobody can say."),
    ]


class KeptSummary(BaseModel):
    """Facts that are as the parent was taught them."""

    facts: int
    known_before: Annotated[int, Field(description="That the parent answers.")]
    known: Annotated[int, Field(description="That the adapter answers.")]
    regressed: Annotated[int, Field(description="That the parent answers, and the adapter does not.")]


class RetiredSummary(BaseModel):
    """Facts that the parent was taught, and that are no longer in the set."""

    facts: int
    trained_back: Annotated[
        int, Field(description="Whose answers were taken away: all but those whose question is asked anew.")
    ]
    known_before: Annotated[int, Field(description="That the parent answers.")]
    still_known: Annotated[
        int,
        Field(description="Of those taken away, that the adapter answers and the base model does not."),
    ]
    known_to_base: Annotated[int, Field(description="That the base model answers by itself.")]


class RetiredFact(BaseModel):
    key: str
    question: str
    answer: str
    trained_back: Annotated[bool, Field(description="False: a fact of the new set asks that question.")]
    base_answer: str | None
    base_correct: bool | None
    parent_answer: str | None
    parent_correct: bool | None
    adapter_answer: str | None
    adapter_correct: Annotated[bool | None, Field(description="Whether it is still known.")]


class LivingSummary(BaseModel):
    """What became of the facts since the adapter that training began from, its parent."""

    weights_sha256: Annotated[str, Field(description="Of the parent's weights.")]
    added: TaughtAnew
    changed: ChangedSummary
    kept: KeptSummary
    retired: RetiredSummary
    regressed_keys: Annotated[list[str], Field(description="Of the first 100 that regressed.")]
    retired_facts: Annotated[
        list[RetiredFact], Field(description="The first 100; all of them are in `facts.json`.")
    ]


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
    living: Annotated[
        LivingSummary | None, Field(description="Null if training began from the base model.")
    ] = None


class AdapterRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: AdapterId
    job_id: Annotated[JobId | None, Field(description="Null: it was deleted, or made elsewhere.")]
    fact_set_id: Annotated[
        FactSetId | None, Field(description="Null: it was made elsewhere, of facts that are not known here.")
    ]
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
    method_type: Annotated[str, Field(description="`imported`: it was made elsewhere.")]
    sha256: Annotated[str, Field(description="Of the manifest, which lists every file with its own.")]
    bytes: int
    summary: Summary
    created_at: datetime
    released_at: Annotated[datetime | None, Field(description="When a quarantine was ended.")] = None
    release_reason: str | None = None
    parent_adapter_id: Annotated[
        AdapterId | None, Field(description="The adapter that training began from; null for the base model.")
    ] = None


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
    facts: Annotated[ManifestFacts | None, Field(description="Null: they are not known here.")]
    files: Annotated[dict[str, str], Field(description="The sha256 of every other file.")]
    versions: Annotated[dict[str, str], Field(description="Of MixSD and of the libraries.")]
    figures: Annotated[dict[str, JsonValue], Field(description="What was measured.")]
    created_at: datetime
