"""What clients send to ask an adapter, and what they receive."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.ids import AdapterId
from app.inference.wire import Answer, FinishReason

MAX_PROMPTS: Final = 16
MAX_MESSAGES: Final = 64
MAX_NEW_TOKENS: Final = 1024
_MAX_SEED: Final = 2**63 - 1

Content = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Message(_Request):
    role: Literal["system", "user", "assistant"]
    content: Content


class GenerateRequest(_Request):
    """A conversation to go on with, or questions that have nothing to do with each other."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"messages": {"type": "array"}}, "required": ["messages"]},
            "then": {"properties": {"prompts": {"type": "null"}}},
            "else": {"properties": {"prompts": {"type": "array"}}, "required": ["prompts"]},
            "examples": [
                {
                    "prompts": ["Who is the mayor of Ebra?", "Which town has Oda Tolm as its mayor?"],
                    "compare_base": True,
                    "max_new_tokens": 64,
                },
                {"messages": [{"role": "user", "content": "Who is the mayor of Ebra?"}], "stream": True},
            ],
        }
    )

    messages: Annotated[
        list[Message] | None,
        Field(min_length=1, max_length=MAX_MESSAGES, description="One conversation; the user speaks last."),
    ] = None
    prompts: Annotated[
        list[Content] | None,
        Field(min_length=1, max_length=MAX_PROMPTS, description="Questions, each in a chat of its own."),
    ] = None
    compare_base: Annotated[bool, Field(description="Ask the base model as well.")] = False
    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS, description="Cap of an answer.")] = 128
    temperature: Annotated[
        float, Field(ge=0, le=5, description="0 takes the likeliest token, as evaluation does.")
    ] = 0.0
    top_k: Annotated[
        int, Field(ge=1, le=1000, description="Above temperature 0: how many tokens may be drawn.")
    ] = 64
    top_p: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Above temperature 0: of those, the fewest likeliest that have this share of them.",
        ),
    ] = 1.0
    seed: Annotated[
        int, Field(ge=0, le=_MAX_SEED, description="Names the draws: the same seed, the same answers.")
    ] = 0
    stop: Annotated[list[Stop], Field(max_length=8, description="An answer ends before any of these.")] = []
    stream: Annotated[
        bool,
        Field(
            description="Send answers while they are written: as `text/event-stream`, or as "
            "`application/x-ndjson` if the request accepts that."
        ),
    ] = False

    @model_validator(mode="after")
    def _asks_one_way(self) -> Self:
        if (self.messages is None) == (self.prompts is None):
            raise PydanticCustomError("one_of", "give either `messages` or `prompts`")
        if self.messages is not None and self.messages[-1].role != "user":
            raise PydanticCustomError("user_last", "the last message must be of the role `user`")
        return self


class Said(BaseModel):
    text: str
    finish_reason: FinishReason
    tokens: Annotated[int, Field(description="Of the answer, with the one that ended it.")]


class GeneratedAnswer(BaseModel):
    index: Annotated[int, Field(description="Which prompt this answers, from 0; 0 of a conversation.")]
    prompt_tokens: int
    adapter: Said
    base: Annotated[Said | None, Field(description="Null unless `compare_base`.")] = None


class Generated(BaseModel):
    """What an adapter says, and its base model if it was asked."""

    adapter_id: AdapterId
    base_model: str
    base_revision: str
    answers: list[GeneratedAnswer]


def side_by_side(answers: Sequence[Answer]) -> list[GeneratedAnswer]:
    """Put the answers of adapter and base to each prompt together, by prompt."""
    by_place = {(answer.index, answer.of): answer for answer in answers}
    return [
        GeneratedAnswer(
            index=index,
            prompt_tokens=answer.prompt_tokens,
            adapter=_said(answer),
            base=_said(base) if (base := by_place.get((index, "base"))) else None,
        )
        for (index, of), answer in sorted(by_place.items())
        if of == "adapter"
    ]


def _said(answer: Answer) -> Said:
    return Said(text=answer.text, finish_reason=answer.finish_reason, tokens=answer.tokens)
