"""What clients send and receive about fact sets."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation

from app.fact_sets.comparing import Change, Difference
from app.fact_sets.models import FactRow
from app.ids import FactSetId
from mixsd.facts import MAX_LIST, MAX_TEXT
from mixsd.intake.report import Report

EXAMPLE_FACTS: list[JsonValue] = [
    {
        "key": "vorlund-capital",
        "question": "What is the capital of Vorlund?",
        "answer": "Tessaly",
        "aliases": ["Tessaly City"],
        "paraphrases": ["Which city is Vorlund governed from?"],
    }
]


_MOST = {"maxLength": MAX_TEXT}
_SAID = _MOST | {"minLength": 1, "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}

# What is said of these is said to readers: the library checks facts, all of them at once.
Said = Annotated[str, Field(json_schema_extra=_SAID)]
Text = Annotated[str, Field(json_schema_extra=_MOST)]
Texts = Annotated[list[Said], Field(json_schema_extra={"maxItems": MAX_LIST})]
Day = Annotated[
    str,
    Field(
        description="A date such as 2026-11-24, or empty.",
        json_schema_extra={"pattern": "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"},
    ),
]


_CLOSED = ConfigDict(json_schema_extra={"additionalProperties": False})


class Probe(BaseModel):
    """An extra question with its answer. A `neighbour` must keep the base model's answer."""

    model_config = _CLOSED

    question: Said
    answer: Said
    kind: Literal["reversed", "hop", "neighbour", "other"] = "other"
    aliases: Texts = []


class Fact(BaseModel):
    """One thing to teach. `paraphrases` and `probes` are asked at evaluation, never trained on."""

    model_config = _CLOSED

    key: Annotated[
        str,
        Field(
            default="",
            description="Yours, or else made from the content.",
            json_schema_extra={"pattern": "^[A-Za-z0-9._-]{0,64}$"},
        ),
    ]
    question: Said
    answer: Said
    aliases: Annotated[Texts, Field(description="Other ways to write the answer.")] = []
    paraphrases: Texts = []
    train_paraphrases: Texts = []
    context: Annotated[Text, Field(description="A statement of the fact.")] = ""
    subject: Text = ""
    relation: Text = ""
    object: Text = ""
    tags: Texts = []
    source: Text = ""
    valid_from: Day = ""
    valid_until: Day = ""
    probes: Annotated[list[Probe], Field(json_schema_extra={"maxItems": MAX_LIST})] = []


class FactSetCreate(BaseModel):
    """A fact set as one JSON document. Facts are checked by the library, all of them at once."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "Vorlund", "facts": EXAMPLE_FACTS}]}
    )

    name: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    facts: Annotated[list[SkipValidation[Fact]], Field(json_schema_extra={"minItems": 1})]


class FactSetRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: FactSetId
    name: str
    n_facts: int
    bytes: Annotated[int, Field(description="Of the canonical form.")]
    sha256: Annotated[str, Field(description="Of the canonical form.")]
    created_at: datetime


class FileProblem(BaseModel):
    """One thing about a file, and where it is."""

    model_config = ConfigDict(from_attributes=True)

    line: Annotated[int | None, Field(description="From 1; of Parquet the row.")]
    column: Annotated[
        int | None, Field(description="From 1: a character of the line, or a column of a table.")
    ]
    pointer: Annotated[str | None, Field(description="JSON pointer within the document or the fact.")]
    fact_key: str | None
    code: str
    detail: str


class FactSetCreated(FactSetRead):
    rejected: Annotated[
        list[FileProblem], Field(description="At most 1000 problems of facts that were left out.")
    ]
    total_rejected: Annotated[int, Field(description="How many problems there are.")]


class FactReport(BaseModel):
    """What `POST /fact-sets` would make of a file, and what is suspicious about it. Nothing is stored."""

    model_config = ConfigDict(from_attributes=True)

    valid: Annotated[bool, Field(description="It would be taken, with `on_error=reject`.")]
    format: str
    name: Annotated[str | None, Field(description="What the document calls the set.")]
    n_facts: Annotated[int, Field(description="Good facts: what `on_error=skip` would store.")]
    bytes: Annotated[int, Field(description="Of their canonical form.")]
    sha256: Annotated[
        str | None, Field(description="Of it, as the set would have. Null if no set can come of the file.")
    ]
    errors: Annotated[list[FileProblem], Field(description="At most 1000.")]
    total_errors: int
    warnings: Annotated[list[FileProblem], Field(description="At most 100 of a code, and 1000 of all.")]
    total_warnings: int
    warning_counts: Annotated[dict[str, int], Field(description="How many of each code, listed or not.")]

    @classmethod
    def of(cls, report: Report) -> "FactReport":
        return cls.model_validate(report.to_json())


class FactChange(BaseModel):
    change: Change
    key: str
    before: Annotated[Fact | None, Field(description="The fact as it was; null if it is added.")]
    after: Annotated[Fact | None, Field(description="The fact as it is; null if it is removed.")]
    fields: Annotated[list[str], Field(description="Which of its fields differ, if it is changed.")]

    @classmethod
    def of(cls, found: Difference) -> "FactChange":
        before, after = found.before, found.after
        change = Change.ADDED if before is None else Change.REMOVED if after is None else Change.CHANGED
        fields: list[str] = []
        if before is not None and after is not None:
            fields = [name for name in Fact.model_fields if before.get(name) != after.get(name)]
        return cls.model_validate(
            {"change": change, "key": found.key, "before": before, "after": after, "fields": fields}
        )


class DiffCounts(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    added: int
    removed: int
    changed: int
    unchanged: int


class FactSetDiff(BaseModel):
    """A page of differences, by key, and how many there are in all."""

    from_id: FactSetId
    to_id: FactSetId
    counts: DiffCounts
    data: list[FactChange]
    has_more: bool
    next_cursor: str | None


class FactRead(Fact):
    ord: Annotated[int, Field(description="Place in the set, from 0.")]

    @classmethod
    def of(cls, row: FactRow) -> "FactRead":
        body: dict[str, Any] = row.body
        return cls(ord=row.ord, **body)
