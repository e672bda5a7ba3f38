"""From what OpenAI's clients ask to what the inference process is told, and back."""

import json
import secrets
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.inference.schemas import MAX_NEW_TOKENS
from app.inference.wire import Answer, Ask, AskedAdapter, AskedBase, FinishReason
from app.openai.chat_schemas import (
    MAX_TOP_K,
    ChatAnswer,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionCreate,
    ChatDelta,
    ChatUsage,
)

DONE: Final = "data: [DONE]\n\n"


def ask_of(asked: AskedAdapter | AskedBase, request: ChatCompletionCreate) -> Ask:
    """Return what is asked: with OpenAI's defaults, so that answers differ unless a seed is given."""
    cap = request.max_completion_tokens or request.max_tokens
    stop = request.stop or []
    return Ask(
        adapter=asked,
        chats=[[message.said() for message in request.messages]],
        compare_base=False,
        max_new_tokens=cap or MAX_NEW_TOKENS,
        fitting=cap is None,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_k=request.top_k or MAX_TOP_K,
        top_p=request.top_p or 1.0,
        seed=secrets.randbits(63) if request.seed is None else request.seed,
        stop=[stop] if isinstance(stop, str) else stop,
        deltas=bool(request.stream),
    )


@dataclass(frozen=True, slots=True)
class Telling:
    """What all that is said about one completion has in common."""

    id: str
    created: int
    model: str
    fingerprint: str
    with_usage: bool = False

    def whole(self, answer: Answer) -> ChatCompletion:
        message = ChatAnswer(role="assistant", content=answer.text, refusal=None)
        choice = ChatChoice(
            index=0, message=message, logprobs=None, finish_reason=_finish(answer.finish_reason)
        )
        return ChatCompletion(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=_usage(answer),
            system_fingerprint=self.fingerprint,
        )

    def begins(self) -> str:
        """Return the first event of a stream."""
        return self._event([_choice(ChatDelta(role="assistant", content=""))])

    def goes_on(self, text: str) -> str:
        return self._event([_choice(ChatDelta(content=text))])

    def ends(self, answer: Answer) -> str:
        """Return the last events of a stream: why it ended, what it took if wanted, and that it is over."""
        ended = self._event([_choice(ChatDelta(), _finish(answer.finish_reason))])
        return ended + (self._event([], _usage(answer)) if self.with_usage else "") + DONE

    def _event(self, choices: list[ChatChunkChoice], usage: ChatUsage | None = None) -> str:
        chunk = ChatCompletionChunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            choices=choices,
            usage=usage,
            system_fingerprint=self.fingerprint,
        )
        told = chunk.model_dump(mode="json", exclude=None if self.with_usage else {"usage"})
        for choice in told["choices"]:
            choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
        return data_of(told)


def data_of(value: dict[str, Any]) -> str:
    """Return an event of a stream."""
    return f"data: {json.dumps(value)}\n\n"


def _choice(delta: ChatDelta, finish: Literal["stop", "length"] | None = None) -> ChatChunkChoice:
    return ChatChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish)


def _finish(reason: FinishReason) -> Literal["stop", "length"]:
    return "stop" if reason == "stop" else "length"


def _usage(answer: Answer) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.tokens,
        total_tokens=answer.prompt_tokens + answer.tokens,
    )
