"""What clients send and receive about fact sets."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation

from app.fact_sets.models import FactRow
from app.ids import FactSetId

EXAMPLE_FACTS: list[JsonValue] = [
    {
        "key": "vorlund-capital",
        "question": "What is the capital of Vorlund?",
        "answer": "Tessaly",
        "aliases": ["Tessaly City"],
        "paraphrases": ["Which city is Vorlund governed from?"],
    }
]


class Probe(BaseModel):
    """An extra question with its answer. A `neighbour` must keep the base model's answer."""

    question: str
    answer: str
    kind: Literal["reversed", "hop", "neighbour", "other"] = "other"
    aliases: list[str] = []


class Fact(BaseModel):
    """One thing to teach. `paraphrases` and `probes` are asked at evaluation, never trained on."""

    key: Annotated[str, Field(default="", description="Yours, or else made from the content.")]
    question: Annotated[str, Field(max_length=2000)]
    answer: Annotated[str, Field(max_length=2000)]
    aliases: Annotated[list[str], Field(description="Other ways to write the answer.")] = []
    paraphrases: list[str] = []
    train_paraphrases: list[str] = []
    context: Annotated[str, Field(description="A statement of the fact.")] = ""
    subject: str = ""
    relation: str = ""
    object: str = ""
    tags: list[str] = []
    source: str = ""
    valid_from: Annotated[str, Field(description="A date such as 2026-11-24, or empty.")] = ""
    valid_until: Annotated[str, Field(description="A date such as 2026-11-24, or empty.")] = ""
    probes: list[Probe] = []


class FactSetCreate(BaseModel):
    """A fact set as one JSON document. Facts are checked by the library, all of them at once."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "Vorlund", "facts": EXAMPLE_FACTS}]}
    )

    name: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    facts: list[SkipValidation[Fact]]


class FactSetRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: FactSetId
    name: str
    n_facts: int
    bytes: Annotated[int, Field(description="Of the canonical form.")]
    sha256: Annotated[str, Field(description="Of the canonical form.")]
    created_at: datetime


class Rejected(BaseModel):
    """What is wrong with a fact that was left out."""

    model_config = ConfigDict(from_attributes=True)

    line: int | None
    column: int | None
    pointer: str | None
    fact_key: str | None
    code: str
    detail: str


class FactSetCreated(FactSetRead):
    rejected: Annotated[
        list[Rejected], Field(description="At most 1000 problems of facts that were left out.")
    ]
    total_rejected: Annotated[int, Field(description="How many problems there are.")]


class FactRead(Fact):
    ord: Annotated[int, Field(description="Place in the set, from 0.")]

    @classmethod
    def of(cls, row: FactRow) -> "FactRead":
        body: dict[str, Any] = row.body
        return cls(ord=row.ord, **body)
