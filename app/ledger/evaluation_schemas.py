"""What clients receive about evaluations."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.ids import AdapterId, EvaluationId, JobId
from app.ledger.schemas import Counts, ScoreRead


class EvaluationRead(BaseModel):
    """What was measured of a base model and an adapter: the outcomes of facts, and scores."""

    id: EvaluationId
    job_id: JobId | None
    adapter_id: Annotated[AdapterId | None, Field(description="Null: the adapter was deleted.")]
    counts: Counts
    scores: list[ScoreRead]
    created_at: datetime
