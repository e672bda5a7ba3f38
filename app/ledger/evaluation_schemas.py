"""What clients receive about evaluations."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.adapters.schemas import Gate, SuiteMistakes
from app.ids import AdapterId, EvaluationId, FactSetId, JobId
from app.ledger.schemas import Counts, ScoreRead


class EvaluationRead(BaseModel):
    """What was measured of a base model and an adapter: the outcomes of facts, and scores."""

    id: EvaluationId
    job_id: JobId | None
    adapter_id: AdapterId | None
    fact_set_id: Annotated[FactSetId | None, Field(description="Whose facts were asked for.")]
    counts: Counts
    scores: list[ScoreRead]
    confidence: Annotated[float | None, Field(description="Of the intervals. Null for older ones.")] = None
    mistakes: Annotated[
        list[SuiteMistakes], Field(description="What kinds of wrong answers there were, by suite.")
    ] = []
    gate: Annotated[Gate | None, Field(description="Null if none was asked for.")] = None
    created_at: datetime
