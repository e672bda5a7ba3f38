"""What clients send to have an adapter exported."""

from typing import Annotated

from pydantic import ConfigDict, Field

from app.exports.models import ExportFormat
from app.jobs.requests.base import Metadata, Name, Priority, Request


class ExportCreate(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"format": "merged"}, {"format": "gguf_lora", "priority": 5}]}
    )

    format: Annotated[
        ExportFormat,
        Field(
            strict=False,
            description="`merged`: the base model with the adapter in its weights, as safetensors. "
            "`gguf`: the same for llama.cpp. `gguf_lora`: the adapter alone for llama.cpp.",
        ),
    ]
    name: Name | None = None
    priority: Priority = 0
    metadata: Metadata = {}
