"""What a client may ask of a job that is there already."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from app.jobs.requests.base import Metadata, Name, Priority, Request


class RetryFrom(StrEnum):
    """Where the new attempt begins."""

    CHECKPOINT = "checkpoint"
    START = "start"


class JobRetry(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"from": "start"}]})

    start: Annotated[
        RetryFrom,
        Field(
            alias="from",
            strict=False,
            description="`checkpoint`: with all that earlier attempts have made. `start`: with none of it.",
        ),
    ] = RetryFrom.CHECKPOINT


class JobChange(Request):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 10}]})

    name: Annotated[Name | None, Field(default_factory=lambda: None, description="Null takes it away.")]
    priority: Annotated[Priority, Field(default_factory=int)]
    metadata: Annotated[Metadata, Field(default_factory=dict, description="Replaces all that is there.")]

    def columns(self) -> dict[str, Any]:
        """Return what is to change, by the attributes of `app.jobs.models.Job`."""
        given = self.model_dump(mode="json", include=self.model_fields_set)
        return {"labels" if name == "metadata" else name: value for name, value in given.items()}
