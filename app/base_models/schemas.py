"""What clients receive about base models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ModelRead(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str
    revision: Annotated[
        str | None, Field(description="Pinned, or the one on disk. Null: a job takes the newest one.")
    ]
    licence: str | None
    parameters: int | None
    bytes: Annotated[int | None, Field(description="Of what is fetched, or of the folder on disk.")]
    built_in: bool
    on_disk: bool
