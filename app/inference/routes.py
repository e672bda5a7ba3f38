"""HTTP face of asking adapters: parse, call one use case, pass on what the inference process says."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import structlog
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from app.errors import AppError
from app.ids import AdapterId
from app.inference import process, service
from app.inference.port import Inference
from app.inference.schemas import Generated, GenerateRequest, side_by_side
from app.inference.waiting import InferenceDep, answers_of, begun, unless_gone
from app.inference.wire import Ask, Event, Waiting
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep
from app.web.problems import problem_of, problems

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/adapters", tags=["adapters"], route_class=StrictRoute)

_SSE: Final = "text/event-stream"
_NDJSON: Final = "application/x-ndjson"
_STREAMS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The answers; with `stream` as events `delta`, `answer`, `done`, or `error` if it "
        "breaks off. Lines of NDJSON have the name of the event as `type`.",
        "content": {kind: {"schema": {"type": "string"}} for kind in (_SSE, _NDJSON)},
    }
}

Written = Callable[[str, dict[str, Any]], str]
"""Writes an event down: its name and its data."""


@router.post(
    "/{adapter_id}/generate",
    response_model=Generated,
    responses=problems(400, 404, 409, 413, 415) | _STREAMS,
)
async def generate(
    adapter_id: AdapterId,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    inference: InferenceDep,
    body: GenerateRequest,
) -> Generated | Response:
    """Ask an adapter, and its base model beside it if wanted. Nothing is stored."""
    adapter = await run_sync(
        lambda: service.asked_adapter(database, project_id=project_id, adapter_id=adapter_id)
    )
    ask = service.ask_of(adapter, body)
    if body.stream:
        return await _streamed(request, inference, ask)
    answers = await unless_gone(request, lambda: answers_of(process.events(inference, ask)))
    return Generated(
        adapter_id=adapter_id,
        base_model=adapter.base_model,
        base_revision=adapter.base_revision,
        answers=side_by_side(answers),
    )


async def _streamed(request: Request, inference: Inference, ask: Ask) -> Response:
    """Begin to answer once there is something to say: until then a failure is a problem document."""
    as_lines = _NDJSON in request.headers.get("accept", "")
    said = process.events(inference, ask)
    first = await begun(request, said)
    write, kind = (_line, _NDJSON) if as_lines else (_sse, _SSE)
    return StreamingResponse(_written(request, first, said, write), media_type=kind)


async def _written(
    request: Request, first: Event, said: AsyncGenerator[Event], write: Written
) -> AsyncGenerator[str]:
    async with aclosing(said):
        yield write(first.type, first.model_dump(exclude={"type"}))
        try:
            async for event in said:
                if isinstance(event, Waiting):
                    if write is _sse:  # a comment; lines of JSON have none
                        yield ": waiting\n\n"
                else:
                    yield write(event.type, event.model_dump(exclude={"type"}))
        except AppError as error:
            log.warning("generate.broke_off", code=error.code)
            yield write("error", problem_of(request, error))


def _sse(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _line(name: str, data: dict[str, Any]) -> str:
    # The name goes last: a problem document has a `type` of its own.
    return f"{json.dumps({**data, 'type': name})}\n"
