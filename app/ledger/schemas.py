"""What clients receive about the outcome of a job."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.adapters.models import AdapterStatus
from app.adapters.schemas import (
    Gate,
    KnownSummary,
    LivingSummary,
    SuiteMistakes,
    SupervisionSummary,
    TrainingSummary,
)
from app.evaluations.models import FactResult
from app.ids import AdapterId, JobId
from app.jobs.forecast_schemas import PeakForecast, SecondsForecast
from app.jobs.requests import Method, Methods
from app.jobs.schemas import JobError
from app.jobs.states import JobKind, JobStatus, Phase
from app.ledger.frontier import Frontier


class Outcome(StrEnum):
    """Every fact of a job ends in exactly one of these."""

    ALREADY_KNOWN = "already_known"
    LEARNED = "learned"
    NOT_LEARNED = "not_learned"
    NO_SUPERVISION = "no_supervision"
    REGRESSED = "regressed"
    SKIPPED = "skipped"


Mistake = Annotated[
    Literal["format", "leakage", "collapse", "cross_entity", "genuine"] | None,
    Field(description="Of what kind a wrong answer is; null for a right one, and where none was given."),
]


class Asked(BaseModel):
    """One question that base and adapter were asked, with what each said."""

    kind: Annotated[
        Literal["question", "paraphrase", "probe"], Field(description="Only `question` is trained on.")
    ]
    probe_kind: Literal["reversed", "hop", "neighbour", "other"] | None = None
    question: str
    expected: str
    base_answer: str | None
    base_correct: bool | None
    base_mistake: Mistake = None
    adapter_answer: str | None
    adapter_correct: bool | None
    adapter_mistake: Mistake = None


class FactResultRead(BaseModel):
    ord: Annotated[int, Field(description="Place of the fact in its set, from 0.")]
    key: str
    question: str
    answer: str
    aliases: list[str] = []
    outcome: Outcome
    reason: str | None
    scored_by: Annotated[str | None, Field(description="The mode in which answers were scored.")] = None
    asked: list[Asked]
    change: Annotated[
        Literal["added", "changed", "kept"] | None,
        Field(description="What became of the fact since the job's parent; null without one."),
    ] = None
    parent_answer: Annotated[str | None, Field(description="What the parent says to the question.")] = None
    parent_correct: bool | None = None
    previous_answer: Annotated[str | None, Field(description="Of a changed fact, the answer it had.")] = None
    previous_gone: Annotated[
        bool | None,
        Field(description="Whether the adapter no longer gives that; null where the new answer holds it."),
    ] = None

    @classmethod
    def of(cls, row: FactResult) -> "FactResultRead":
        return cls.model_validate({**row.body, "ord": row.ord})


class ReportModel(BaseModel):
    id: str
    revision: str | None


class Counts(BaseModel):
    """How the facts ended. Once there is a verdict on them, the outcomes add up to `facts`."""

    facts: int
    already_known: int = 0
    learned: int = 0
    not_learned: int = 0
    no_supervision: int = 0
    regressed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, facts: int, outcomes: Mapping[str, int]) -> "Counts":
        return cls.model_validate({"facts": facts, **outcomes})


class ScoreRead(BaseModel):
    """A figure of base and adapter, their difference, and the intervals that these lie in."""

    model_config = ConfigDict(from_attributes=True)

    suite: str
    metric: str
    n: int
    base: float | None
    adapter: float | None
    difference: Annotated[float | None, Field(description="Adapter minus base.")]
    low: Annotated[float | None, Field(description="Of the difference: paired bootstrap, at `confidence`.")]
    high: float | None
    base_low: Annotated[
        float | None, Field(description="Of `base`, at `confidence`: Wilson's for a share, else bootstrap.")
    ] = None
    base_high: float | None = None
    adapter_low: float | None = None
    adapter_high: float | None = None
    gained: Annotated[int | None, Field(description="Items that only the adapter has right.")] = None
    lost: Annotated[int | None, Field(description="Items that only the base model has right.")] = None
    p_value: Annotated[
        float | None, Field(description="McNemar's exact test that neither is better, two-sided; of a share.")
    ] = None
    lower_is_better: Annotated[bool, Field(description="Whether it is a loss.")] = False


class PhaseMemory(BaseModel):
    """Bytes that the process of a phase took at its peak."""

    host: int
    device: Annotated[int | None, Field(description="Null: it computed on the CPU.")]


class PhaseRead(BaseModel):
    phase: Phase
    seconds: float
    done: int
    total: int
    unit: str
    forecast: Annotated[
        SecondsForecast | None, Field(description="What was expected when the job was made.")
    ] = None
    memory: Annotated[PhaseMemory | None, Field(description="Null until the phase is done.")] = None


class JobMemory(BaseModel):
    """Bytes at the peak: of the device, or of the process where it computes on the CPU."""

    peak: Annotated[int, Field(description="The highest of all phases that are done.")]
    forecast: Annotated[
        PeakForecast | None, Field(description="What was expected when the job was made.")
    ] = None


class ReportAdapter(BaseModel):
    id: AdapterId
    status: AdapterStatus
    bytes: int
    sha256: str
    files: list[str]


class VariantReport(BaseModel):
    """One of the ways in which a job taught its facts. Before the job has succeeded there is no verdict."""

    variant: int
    label: Annotated[str, Field(description="The method, and what sets it apart from the others.")]
    method: Method
    recommended: bool
    counts: Counts
    scores: list[ScoreRead]
    supervision: SupervisionSummary | None
    training: TrainingSummary | None
    gate: Gate | None
    adapter_id: AdapterId | None
    adapter_status: AdapterStatus | None
    reason: Annotated[
        Literal["no_supervision"] | None,
        Field(description="Why there is no adapter of it, though the job has succeeded."),
    ]


class Report(BaseModel):
    """What a job was, did and achieved. For a job that has not succeeded the verdicts are empty.

    What is said of the adapter, its facts and scores is, of several variants, that of the recommended one.
    """

    job_id: JobId
    kind: Annotated[
        JobKind,
        Field(
            description="`evaluation`, `export`: it measured or wrote `adapter`, which another job has made."
        ),
    ]
    status: JobStatus
    base_model: ReportModel
    method: Annotated[Methods | None, Field(description="Null unless it trains: it has no variants then.")]
    counts: Counts
    scores: list[ScoreRead]
    confidence: float | None
    supervision: SupervisionSummary | None
    training: TrainingSummary | None
    mistakes: Annotated[list[SuiteMistakes], Field(description="What kinds of wrong answers there were.")]
    gate: Gate | None
    known: Annotated[KnownSummary | None, Field(description="Null unless `training.known_facts` is `skip`.")]
    parent_adapter_id: Annotated[
        AdapterId | None, Field(description="The adapter that training begins from; null for the base model.")
    ]
    living: Annotated[
        LivingSummary | None,
        Field(description="What became of the facts since the parent, once the job has succeeded."),
    ]
    phases: list[PhaseRead]
    memory: Annotated[JobMemory | None, Field(description="Null until a phase is done.")] = None
    adapter: ReportAdapter | None
    variants: list[VariantReport]
    frontier: Annotated[
        Frontier | None, Field(description="Of a job with several variants, once it has succeeded.")
    ]
    error: JobError | None
