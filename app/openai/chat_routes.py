"""HTTP face of chats: parse, ask, and pass on what the inference process says."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import structlog
from anyio.to_thread import run_sync
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.errors import AppError
from app.ids import new_id
from app.inference import process
from app.inference.port import Inference
from app.inference.waiting import InferenceDep, answers_of, begun, unless_gone
from app.inference.wire import Answer, Ask, AskedAdapter, AskedBase, Delta, Event, Waiting
from app.openai import model_service
from app.openai.chat_schemas import ChatCompletion, ChatCompletionCreate
from app.openai.chatting import Telling, ask_of, data_of
from app.openai.routing import CacheDep, router_of
from app.web.deps import ClockDep, DatabaseDep, ProjectDep, SettingsDep
from app.web.openai_errors import body_of, openai_errors
from app.web.problems import status_of

log = structlog.get_logger(__name__)

router = router_of("/chat/completions", "chat")

_SSE: Final = "text/event-stream"
_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The answer; with `stream` as events, each a `ChatCompletionChunk`, and the "
        "last `[DONE]`. A stream that breaks off ends with one that holds an `error` instead.",
        "content": {_SSE: {"schema": {"type": "string"}}},
    }
}


@router.post("", response_model=ChatCompletion, responses=openai_errors(404, 409, 413, 415) | _STREAMED)
async def openai_create_chat_completion(
    body: ChatCompletionCreate,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    cache: CacheDep,
    clock: ClockDep,
    inference: InferenceDep,
) -> ChatCompletion | Response:
    """Have a base model or an adapter go on with a conversation. Nothing is stored."""
    asked = await run_sync(
        lambda: model_service.asked_model(
            database, cache, body.model, project_id=project_id, allowed=settings.allowed_models
        )
    )
    now = clock()
    options = body.stream_options
    telling = Telling(
        id=new_id("chatcmpl", now=now),
        created=int(now.timestamp()),
        model=body.model,
        fingerprint=_fingerprint(asked),
        with_usage=bool(options and options.include_usage),
    )
    ask = ask_of(asked, body)
    if body.stream:
        return await _streamed(request, inference, ask, telling)
    (answer,) = await unless_gone(request, lambda: answers_of(process.events(inference, ask)))
    return telling.whole(answer)


def _fingerprint(asked: AskedAdapter | AskedBase) -> str:
    return f"{asked.base_model}@{asked.base_revision}"


async def _streamed(request: Request, inference: Inference, ask: Ask, telling: Telling) -> Response:
    """Begin to answer once there is something to say: until then a failure has a status of its own."""
    said = process.events(inference, ask)
    first = await begun(request, said)
    return StreamingResponse(_written(first, said, telling), media_type=_SSE)


async def _written(first: Event, said: AsyncGenerator[Event], telling: Telling) -> AsyncGenerator[str]:
    shown = 0
    async with aclosing(said):
        try:
            yield telling.begins()
            event = first
            while True:
                if isinstance(event, Waiting):
                    yield ": waiting\n\n"
                elif isinstance(event, Delta):
                    shown += len(event.text)
                    yield telling.goes_on(event.text)
                elif isinstance(event, Answer):
                    if rest := event.text[shown:]:  # of one that the time of the server has cut
                        yield telling.goes_on(rest)
                    yield telling.ends(event)
                    return
                event = await anext(said)
        except AppError as error:
            log.warning("chat.broke_off", code=error.code)
            yield data_of(body_of(status_of(error), error.code, str(error), error.members()))
