"""What clients receive about base models."""

from typing import Annotated, Literal

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
    chat_template_sha256: Annotated[
        str | None, Field(description="Null: not on disk, or without a template.")
    ] = None


class ModelCheck(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"model": "smollm2-135m-instruct"}]},
    )

    model: Annotated[str, Field(min_length=1, max_length=200, description="A built-in id, or `owner/name`.")]
    revision: Annotated[
        str | None, Field(max_length=100, description="Commit, tag or branch. Null takes the newest.")
    ] = None


class ModelProblem(BaseModel):
    """What a job with the model would fail for, or why nothing can be said. Test `code`; show `detail`."""

    model_config = ConfigDict(from_attributes=True)

    code: Literal[
        "bad_model",
        "bad_name",
        "gated",
        "hub_refused",
        "hub_unreachable",
        "model_not_allowed",
        "model_not_found",
        "no_chat_template",
        "no_fast_tokenizer",
        "quantised",
        "remote_code",
        "revision_not_found",
        "unsafe_weights",
    ]
    detail: str


class ModelMemory(BaseModel):
    """Bytes at the peak, roughly, with the default adapter and texts of 128 tokens."""

    device_least: Annotated[int, Field(description="With batches cut as small as they go.")]
    device_at_once: Annotated[int, Field(description="With nothing cut.")]
    host: Annotated[int, Field(description="Of the worker's machine.")]


class ModelChecked(BaseModel):
    """What is known of a model. What is not known is null."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "model": "owner/name",
                    "allowed": True,
                    "exists": True,
                    "gated": False,
                    "revision": "0123456789abcdef0123456789abcdef01234567",
                    "licence": "apache-2.0",
                    "parameters": 134515008,
                    "bytes": 269060552,
                    "has_chat_template": True,
                    "chat_template_sha256": "0" * 64,
                    "built_in": False,
                    "on_disk": False,
                    "memory": {
                        "device_least": 632336640,
                        "device_at_once": 2568989952,
                        "host": 3768989952,
                    },
                    "fits": None,
                    "problems": [],
                }
            ]
        },
    )

    model: str
    allowed: Annotated[bool, Field(description="Whether a job may name it here.")]
    exists: bool | None
    gated: Annotated[bool | None, Field(description="Whether its licence must be accepted.")]
    revision: Annotated[str | None, Field(description="The commit now, or the one on disk.")]
    licence: str | None
    parameters: int | None
    bytes: Annotated[int | None, Field(description="Of what is fetched, or of the weights on disk.")]
    has_chat_template: bool | None
    chat_template_sha256: str | None
    built_in: bool
    on_disk: bool
    memory: ModelMemory | None
    fits: Annotated[
        bool | None,
        Field(description="True: a job with it has succeeded here. Null: none has, and it is not known."),
    ]
    problems: list[ModelProblem]
