"""What clients receive: the report of a job in full, where its texts came from, and what decided it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, Field

from app.adapters.models import AdapterStatus
from app.exports.models import ExportFormat
from app.ids import AdapterId, FactSetId, JobId
from app.jobs.models import Supervision
from app.jobs.requests import EvaluationOptions, Methods, TrainingOptions
from app.jobs.states import JobKind, JobStatus, Phase
from app.ledger.schemas import FactResultRead, Report


class ReportFormat(StrEnum):
    JSON = "json"
    MARKDOWN = "md"
    HTML = "html"


# -- provenance


class Pick(StrEnum):
    """What a token of a text was drawn from, or why it was not drawn."""

    NAIVE = "naive"
    EXPERT = "expert"
    GUARDED = "guarded"
    ENDED = "ended"
    OPENED = "opened"


_PICKS: Final = {
    "n": Pick.NAIVE,
    "e": Pick.EXPERT,
    "g": Pick.GUARDED,
    "s": Pick.ENDED,
    "o": Pick.OPENED,
}
"""By the letters of `mixsd.supervision`."""


class TokenRead(BaseModel):
    id: int
    text: Annotated[
        str | None,
        Field(
            description="The texts of all tokens make up the whole; a character of several tokens stands at "
            "the last. Null if the text was written before these were kept."
        ),
    ]
    pick: Annotated[Pick | None, Field(description="Null in a text that the model did not write.")]


class TextProvenance(BaseModel):
    """A text of a fact: what it says, how it came about, and where each token is from."""

    generation: int
    question: Annotated[str, Field(description="What it answers: the fact's question or another wording.")]
    text: str
    method: Annotated[str, Field(description="`mixsd`, or how it came about without it, such as `sft`.")]
    trained_on: bool
    reason: Annotated[str | None, Field(description="Why it was not accepted.")]
    lam: Annotated[float, Field(description="Chance of a naive token in the attempt that was kept.")]
    seed: int
    attempts: int
    finish_reason: str
    naive_share: Annotated[float, Field(description="Share of tokens that were drawn from `naive`.")]
    nats_per_token: Annotated[
        float | None, Field(description="Mean loss under the base model that is asked the bare question.")
    ]
    expert_nats_per_token: Annotated[
        float | None, Field(description="The same, shown the answer; with `score_both`.")
    ]
    agreement: Annotated[
        float | None,
        Field(description="Share of tokens at which both conditionals agree; with `score_both`."),
    ]
    tokens: list[TokenRead]

    @classmethod
    def of(cls, row: Supervision) -> Self:
        body: dict[str, Any] = row.body
        ids, picks = body["token_ids"], [_PICKS.get(letter) for letter in body["picks"]]
        texts = row.pieces or [None] * len(ids)
        tokens = [
            TokenRead(id=token, text=text, pick=pick)
            for token, text, pick in zip(ids, texts, picks or [None] * len(ids), strict=True)
        ]
        told = {"trained_on": row.verified, "tokens": tokens}
        share = picks.count(Pick.NAIVE) / len(picks) if picks else 0.0
        return cls.model_validate({**body, **told, "naive_share": share})


class FactProvenance(BaseModel):
    """Where the texts of a fact came from."""

    ord: Annotated[int, Field(description="Place of the fact in its set, from 0.")]
    key: str
    texts: list[TextProvenance]


# -- the report


class Point(BaseModel):
    step: int
    value: float


class Curve(BaseModel):
    """A figure of the training, step by step."""

    name: str
    variant: Annotated[int, Field(description="Which run of a job with several; else 0.")] = 0
    points: list[Point]


class TextCounts(BaseModel):
    """How many texts there are so far: of every job, also one that has not ended well."""

    made: int
    trained_on: int


class LedgerExcerpt(BaseModel):
    """The first verdicts. All of them are at `more`."""

    total: int
    more: str
    data: list[FactResultRead]


class ProvenanceExcerpt(BaseModel):
    """The texts of the first facts that have any. All of them are at `more`."""

    total: Annotated[int, Field(description="Facts with texts.")]
    more: str
    data: list[FactProvenance]


class JobReport(Report):
    name: str | None
    phase: Annotated[Phase | None, Field(description="What a running job does.")]
    attempt: int
    fact_set_id: FactSetId
    wait_reason: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    texts: TextCounts
    curves: list[Curve]
    ledger: LedgerExcerpt
    provenance: ProvenanceExcerpt


# -- the manifest


class JobRequest(BaseModel):
    """A body for `POST /jobs` that repeats the job: every setting is written out, nothing is left open."""

    name: str | None
    base_model: str
    revision: Annotated[str | None, Field(description="Null until a worker has looked the newest up.")]
    fact_set_id: FactSetId
    parent_adapter_id: AdapterId | None = None
    method: Methods
    training: TrainingOptions
    evaluation: EvaluationOptions
    priority: int
    metadata: dict[str, str]


class EvaluationRequest(BaseModel):
    """A body for `POST /evaluations` that measures the adapter once more."""

    name: str | None
    adapter_id: AdapterId
    fact_set_id: FactSetId
    evaluation: EvaluationOptions
    priority: int
    metadata: dict[str, str]


class ExportRequest(BaseModel):
    """A body for `POST /adapters/{adapter_id}/exports` that writes the adapter once more."""

    name: str | None
    format: ExportFormat
    priority: int
    metadata: dict[str, str]


class RunFacts(BaseModel):
    fact_set_id: FactSetId
    n: int
    sha256: Annotated[str, Field(description="Of the canonical form of the facts.")]
    available: Annotated[bool, Field(description="False once the set was deleted: then send it anew.")]


class ManifestModel(BaseModel):
    id: str
    revision: str | None
    hub_id: str | None = None
    licence: str | None = None
    template_sha256: Annotated[str | None, Field(description="Of the chat template.")] = None


class ManifestSuites(BaseModel):
    """Digests of the built-in questions and prompts."""

    general_sha256: str
    open_sha256: str


class Machine(BaseModel):
    """What the numbers were computed on. An equal machine rounds alike."""

    device: str
    threads: int | None = None
    architecture: str | None = None
    kernels: Annotated[str | None, Field(description="Instructions that the CPU's kernels use.")] = None
    gpu: str | None = None
    cuda: str | None = None


class PhaseDigests(BaseModel):
    phase: Phase
    attempt: int
    finished: bool
    input_sha256: Annotated[str | None, Field(description="Of all that decides what the phase makes.")]
    output_sha256: Annotated[
        str | None,
        Field(description="Of what it made; for `generating` that of `GET /jobs/{id}/supervision`."),
    ]


class ManifestAdapter(BaseModel):
    id: AdapterId
    status: AdapterStatus
    sha256: Annotated[str, Field(description="Of its manifest.json.")]
    weights_sha256: str | None
    files: Annotated[dict[str, str] | None, Field(description="The sha256 of each file, by path.")]


class ManifestParent(BaseModel):
    """The adapter that training began from."""

    id: AdapterId
    sha256: Annotated[str | None, Field(description="Of its manifest.json.")]
    available: Annotated[bool, Field(description="False once it or its facts were deleted.")]
    fact_set_id: FactSetId
    weights_sha256: Annotated[str | None, Field(description="Of its weights, once the job has succeeded.")]
    facts_sha256: Annotated[str | None, Field(description="Of the facts that it was taught.")]


class ManifestVariant(BaseModel):
    """One of the ways in which the job teaches its facts, and what came of it."""

    variant: Annotated[int, Field(description="Its place, from 0.")]
    label: str
    supervision_sha256: Annotated[str | None, Field(description="Of the texts that it was trained on.")]
    adapter: ManifestAdapter | None


class JobManifest(BaseModel):
    """Everything that decided a run. What is not known, or not yet, is null."""

    job_id: JobId
    kind: JobKind
    status: JobStatus
    repeatable: Annotated[
        bool, Field(description="Whether `request` can be sent as it is and names all that it takes.")
    ]
    request: Annotated[
        JobRequest | EvaluationRequest | ExportRequest,
        Field(
            description="For `POST /jobs`; for `POST /evaluations` if `kind` is `evaluation`, and for "
            "`POST /adapters/{adapter_id}/exports` if it is `export`."
        ),
    ]
    request_sha256: Annotated[str, Field(description="Of the settings and facts as they were sent.")]
    facts: RunFacts
    parent: Annotated[ManifestParent | None, Field(description="Null: training began from the base model.")]
    base_model: ManifestModel
    supervision_sha256: str | None
    suites: ManifestSuites | None
    law: Annotated[int | None, Field(description="Version of the law by which texts are drawn.")]
    versions: Annotated[dict[str, str] | None, Field(description="Of the libraries, by name.")]
    machine: Machine | None
    phases: list[PhaseDigests]
    adapter: Annotated[ManifestAdapter | None, Field(description="Of several, the recommended one.")]
    variants: Annotated[
        list[ManifestVariant],
        Field(description="One for each adapter that the job makes; none unless it trains."),
    ]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
