"""What API and inference process say to each other: one ask in JSON, and a line of JSON for each event."""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PATH: Final = "/generate"

Of = Literal["adapter", "base"]
FinishReason = Literal["stop", "length", "time"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChatMessage(Frozen):
    role: Literal["system", "user", "assistant"]
    content: str


class AskedAdapter(Frozen):
    """An adapter that may be asked, with the sha256 of each of its files in the artifact store."""

    id: str
    base_model: str
    base_revision: str
    files: dict[str, str]


class AskedBase(Frozen):
    """A base model that is asked by itself. Without a revision, any that is there will do."""

    base_model: str
    base_revision: str | None


class Ask(Frozen):
    """Conversations that an adapter, and if wanted its base model, go on with; or a base model alone.

    Conversation `n` is drawn with the key (`seed`, n) where `temperature` is above 0. With `fitting`
    an answer may be as long as prompt and model leave room for, if that is less than `max_new_tokens`.
    """

    adapter: AskedAdapter | AskedBase
    chats: Annotated[list[list[ChatMessage]], Field(min_length=1)]
    compare_base: bool
    max_new_tokens: Annotated[int, Field(ge=1)]
    fitting: bool = False
    temperature: Annotated[float, Field(ge=0)]
    top_k: Annotated[int, Field(ge=1)]
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int
    stop: list[str]
    deltas: bool


class Waiting(Frozen):
    """Nothing new; sent now and then, so that either side notices when the other is gone."""

    type: Literal["waiting"] = "waiting"


class Delta(Frozen):
    """A piece of an answer under way. All pieces of one, put together, begin its text."""

    type: Literal["delta"] = "delta"
    index: int
    of: Of
    text: str


class Answer(Frozen):
    """A whole answer."""

    type: Literal["answer"] = "answer"
    index: Annotated[int, Field(description="Which prompt it answers, from 0; 0 of a conversation.")]
    of: Of
    text: str
    finish_reason: Annotated[
        FinishReason,
        Field(description="The model ended or a stop was reached; the cap; the time limit of the server."),
    ]
    tokens: Annotated[int, Field(description="Of the answer, with the one that ended it.")]
    prompt_tokens: int


class Done(Frozen):
    """Every answer was sent."""

    type: Literal["done"] = "done"


class Failed(Frozen):
    """There will be no more answers. `code` is one of `app.inference.errors`."""

    type: Literal["failed"] = "failed"
    code: str
    detail: str


Event: TypeAlias = Annotated[Waiting | Delta | Answer | Done | Failed, Field(discriminator="type")]

EVENTS: Final[TypeAdapter[Waiting | Delta | Answer | Done | Failed]] = TypeAdapter(Event)
