"""What webhooks send: thin, so that nothing of a project leaves it but names."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.ids import EventId, JobId
from app.webhooks.states import DisabledReason


class MessageData(BaseModel):
    """Names what happened; all else is to be read from the service. What does not apply is left out."""

    id: Annotated[str, Field(description="Of the thing that `type` begins with: a job, an adapter, ...")]
    job_id: JobId | None = None
    event_id: EventId | None = None
    seq: Annotated[int | None, Field(description="Place among the events of the job.")] = None
    attempt: int | None = None
    phase: str | None = None
    reason: DisabledReason | None = None


class WebhookMessage(BaseModel):
    """The body of a webhook."""

    type: str
    created_at: datetime
    data: MessageData

    def text(self) -> str:
        """Return what is sent and signed."""
        return self.model_dump_json(exclude_none=True)
