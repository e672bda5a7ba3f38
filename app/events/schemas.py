"""What clients receive about events."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.events.models import Level
from app.ids import EventId, JobId


class EventRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: EventId
    seq: Annotated[int, Field(description="Counts up without gaps within a job.")]
    type: str
    job_id: JobId
    attempt: int
    phase: str | None
    level: Level
    created_at: datetime
    message: str
    data: Annotated[dict[str, Any], Field(description="Depends on `type`.")]
