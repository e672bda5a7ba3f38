"""What clients receive about models."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class OpenAIModel(BaseModel):
    id: Annotated[str, Field(description="A base model, or the id of an adapter.")]
    object: Literal["model"]
    created: Annotated[int, Field(description="0 of a base model.")]
    owned_by: Annotated[str, Field(description="The project, or whoever a base model is of.")]
    parent: Annotated[str | None, Field(description="Beyond OpenAI's: the base model of an adapter.")]
    status: Annotated[
        Literal["ready", "quarantined", "not_on_disk"],
        Field(description="Beyond OpenAI's: only one that is `ready` can be asked."),
    ]


class OpenAIModels(BaseModel):
    """All models; this list has no pages."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIModelDeleted(BaseModel):
    id: str
    object: Literal["model"]
    deleted: Literal[True]
