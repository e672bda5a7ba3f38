"""What clients send to chat with a model, and what they receive."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from app.inference.schemas import MAX_MESSAGES, MAX_NEW_TOKENS, Content, Stop
from app.inference.wire import ChatMessage
from app.jobs.requests.base import Request, Seed
from app.openai.fields import EmptyList, EmptyObject, Refused, of_numbers, one_or_several, only

MAX_TOP_K: Final = 1000
_ROLES: Final = ("system", "developer", "user", "assistant")


def _is_text(value: Any) -> Any:
    """Refuse by name what a part of a message may be elsewhere."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "text":
        raise PydanticCustomError(
            "unsupported_part",
            "only parts of the type `text` have a counterpart here: neither images nor audio nor files",
        )
    return value


def _is_role(value: Any) -> Any:
    if isinstance(value, str) and value not in _ROLES:
        raise PydanticCustomError(
            "unsupported_role", "only system, developer, user and assistant speak here: tools are not called"
        )
    return value


class OpenAITextPart(Request):
    type: Literal["text"]
    text: Content


Part = Annotated[OpenAITextPart, BeforeValidator(_is_text)]


class OpenAIMessage(Request):
    role: Annotated[
        Literal["system", "developer", "user", "assistant"],
        BeforeValidator(_is_role),
        Field(description="`developer` is read as `system`."),
    ]
    content: Annotated[
        Annotated[Content, Tag("one")]
        | Annotated[list[Part], Field(min_length=1, max_length=MAX_MESSAGES), Tag("several")],
        Discriminator(one_or_several),
    ]
    name: Refused = None
    refusal: Refused = None
    audio: Refused = None
    function_call: Refused = None
    tool_calls: EmptyList = None
    tool_call_id: Refused = None
    annotations: EmptyList = None

    def said(self) -> ChatMessage:
        text = self.content
        whole = text if isinstance(text, str) else "".join(part.text for part in text)
        return ChatMessage(role="system" if self.role == "developer" else self.role, content=whole)


class OpenAIStreamOptions(Request):
    include_usage: bool | None = None
    include_obfuscation: Annotated[Literal[False] | None, only(False, None)] = None


class OpenAIResponseFormat(Request):
    type: Annotated[Literal["text"], only("text")]


class ChatCompletionCreate(Request):
    """Of what is not served here, the only value is taken that changes nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a",
                    "messages": [{"role": "user", "content": "Who is the mayor of Ebra?"}],
                    "temperature": 0,
                    "max_completion_tokens": 64,
                }
            ]
        }
    )

    model: Annotated[str, Field(max_length=200, description="A base model, or the id of an adapter.")]
    messages: Annotated[
        list[OpenAIMessage],
        Field(min_length=1, max_length=MAX_MESSAGES, description="The user speaks last."),
    ]
    temperature: Annotated[
        float | None, Field(ge=0, le=2, description="0 takes the likeliest token. Null is 1.")
    ] = None
    top_p: Annotated[float | None, Field(gt=0, le=1, description="Null is 1.")] = None
    top_k: Annotated[
        int | None,
        Field(ge=1, le=MAX_TOP_K, description=f"Beyond OpenAI's. Null is {MAX_TOP_K}, the most."),
    ] = None
    max_completion_tokens: Annotated[
        int | None,
        Field(ge=1, le=MAX_NEW_TOKENS, description=f"Null: as many as fit, {MAX_NEW_TOKENS} at most."),
    ] = None
    max_tokens: Annotated[
        int | None, Field(ge=1, le=MAX_NEW_TOKENS, description="An older name of the same.")
    ] = None
    seed: Annotated[Seed | None, Field(description="The same seed, the same answer. Null: any.")] = None
    stop: Annotated[
        Annotated[Stop | None, Tag("one")] | Annotated[list[Stop], Field(max_length=8), Tag("several")],
        Discriminator(one_or_several),
        Field(description="The answer ends before any of these."),
    ] = None
    stream: Annotated[bool | None, Field(description="Send the answer while it is written.")] = None
    stream_options: OpenAIStreamOptions | None = None

    n: Annotated[Literal[1] | None, only(1, None)] = None
    logprobs: Annotated[Literal[False] | None, only(False, None)] = None
    top_logprobs: Annotated[Literal[0] | None, only(0, None)] = None
    frequency_penalty: Annotated[Literal[0] | None, of_numbers(0)] = None
    presence_penalty: Annotated[Literal[0] | None, of_numbers(0)] = None
    logit_bias: EmptyObject = None
    response_format: OpenAIResponseFormat | None = None
    tools: EmptyList = None
    tool_choice: Annotated[Literal["none"] | None, only("none", None)] = None
    parallel_tool_calls: Annotated[Literal[True] | None, only(True, None)] = None
    functions: EmptyList = None
    function_call: Annotated[Literal["none"] | None, only("none", None)] = None
    modalities: Annotated[
        Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None,
        only(["text"], None),
    ] = None
    audio: Refused = None
    prediction: Refused = None
    reasoning_effort: Refused = None
    verbosity: Refused = None
    web_search_options: Refused = None
    moderation: Refused = None
    service_tier: Annotated[Literal["auto", "default"] | None, only("auto", "default", None)] = None
    store: Annotated[Literal[False] | None, only(False, None)] = None
    metadata: EmptyObject = None
    user: Refused = None
    safety_identifier: Refused = None
    prompt_cache_key: Refused = None
    prompt_cache_options: Refused = None
    prompt_cache_retention: Refused = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.messages[-1].role != "user":
            raise PydanticCustomError("user_last", "the last of `messages` must be of the role `user`")
        caps = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(caps) > 1:
            raise PydanticCustomError(
                "given_twice", "`max_tokens` and `max_completion_tokens` are the same: give one of them"
            )
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("no_stream", "`stream_options` goes with `stream` alone")
        return self


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: Annotated[int, Field(description="With the one that ended the answer.")]
    total_tokens: int


class ChatAnswer(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    index: Literal[0]
    message: ChatAnswer
    logprobs: None
    finish_reason: Annotated[
        Literal["stop", "length"],
        Field(description="`length` is also that the time of the server was up."),
    ]


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    system_fingerprint: Annotated[str, Field(description="Base model and revision.")]


class ChatDelta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(BaseModel):
    index: Literal[0]
    delta: ChatDelta
    logprobs: None
    finish_reason: Literal["stop", "length"] | None


class ChatCompletionChunk(BaseModel):
    """An event of a stream. With `include_usage` the last one has `usage` and no choice."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: ChatUsage | None = None
    system_fingerprint: str
