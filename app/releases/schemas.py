"""What clients send to release an adapter."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AdapterRelease(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"reason": "the questions that were lost do not matter to us"}]},
    )

    reason: Annotated[
        str | None, Field(min_length=1, max_length=1000, description="Kept with the adapter.")
    ] = None
