"""What administrators receive of the audit trail."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.ids import ApiKeyId, AuditId, ProjectId


class AuditEntryRead(BaseModel):
    """One request: who did what, when, and what came of it."""

    model_config = ConfigDict(from_attributes=True)

    id: AuditId
    at: datetime
    project_id: Annotated[ProjectId, Field(description="Of the key, or the default one without a key.")]
    key_id: Annotated[ApiKeyId | None, Field(description="Null without a key.")]
    action: Annotated[str, Field(description="The operation, such as `delete_job`.")]
    target: Annotated[
        str | None, Field(description="The id that was named, cut if it is long; of what was made, its own.")
    ]
    status: Annotated[int, Field(description="Of the answer: below 400 it was done.")]
    address: Annotated[str | None, Field(description="Of the client, as far as the service can tell.")]
    request_id: Annotated[str, Field(description="As in the log.")]
