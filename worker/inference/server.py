"""The face of the inference process: HTTP for the API alone, which shows a token.

It gives one answer to each ask: a stream of events, a line of JSON each.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.inference.wire import PATH, Answer, Ask, Delta, Done, Failed, Waiting
from worker.inference.decoder import FullError
from worker.inference.tickets import Sink, Ticket

MAX_BODY: Final = 8_000_000
"""Bytes of an ask: more than the API takes of a client."""
BEAT: Final = 5.0
"""Seconds of silence after which a sign of life is sent."""

Said = Answer | Delta | Done | Failed


class Answering(Protocol):
    """What takes asks. See `worker.inference.decoder.Decoder`."""

    def submit(self, ask: Ask, sink: Sink) -> Ticket: ...

    def cancel(self, ticket: Ticket) -> None: ...


class Face:
    """Passes asks on to a decoder, and its events back. `streams` are those that are listened to now."""

    def __init__(self, decoder: Answering, token: str, *, beat: float = BEAT) -> None:
        """Set up the server.

        Args:
            decoder: Answers what is asked.
            token: What a caller must show.
            beat: Seconds of silence before a sign of life.
        """
        self._decoder = decoder
        self._expected = f"Bearer {token}".encode()
        self._beat = beat
        self.streams = 0

    def routes(self) -> Starlette:
        """Return the application that a server runs."""
        return Starlette(
            routes=[Route(PATH, self._generate, methods=["POST"]), Route("/healthz", self._health)]
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _generate(self, request: Request) -> Response:
        shown = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(shown, self._expected):
            return JSONResponse({"code": "unauthenticated"}, 401, {"WWW-Authenticate": "Bearer"})
        body = await _body(request)
        if body is None:
            return JSONResponse({"code": "body_too_large"}, 413)
        try:
            ask = Ask.model_validate_json(body)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            return JSONResponse({"code": "invalid_ask", "errors": problems}, 422)
        inbox = _Inbox()
        try:
            ticket = self._decoder.submit(ask, inbox.put)
        except FullError:
            return JSONResponse({"code": "busy"}, 503, {"Retry-After": "5"})
        return StreamingResponse(self._lines(ticket, inbox), media_type="application/x-ndjson")

    async def _lines(self, ticket: Ticket, inbox: "_Inbox") -> AsyncGenerator[str]:
        self.streams += 1
        event: Said | Waiting = Waiting()
        try:
            while True:
                yield f"{json.dumps(event.model_dump())}\n"
                if isinstance(event, Done | Failed):
                    return
                event = await inbox.get(self._beat) or Waiting()
        finally:  # also where the caller has gone away
            self.streams -= 1
            self._decoder.cancel(ticket)


class _Inbox:
    """Brings events from the thread that answers to the loop that sends them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Said] = asyncio.Queue()

    def put(self, event: Said) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def get(self, seconds: float) -> Said | None:
        """Return the next event; None if there is none in this time."""
        try:
            return await asyncio.wait_for(self._events.get(), seconds)
        except TimeoutError:
            return None


async def _body(request: Request) -> bytes | None:
    """Read the body; None if it is too large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
    return b"".join(parts)
