"""One line for each request, and its measures: `request.finished`."""

import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.access import Caller
from app.web.measures import HttpMeasures

log = structlog.get_logger(__name__)

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for all the time: a line is written only if something is wrong."""


class RequestLog:
    """Notes method, route, status, duration and caller; never a query, a body or a header.

    The duration is that of the whole answer; what is measured is the time until it began, since a
    stream may go on for hours.

    Stands inside of `RequestId`, so that the line carries the id, and around all the rest.
    """

    def __init__(self, app: ASGIApp, measures: HttpMeasures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = time.perf_counter()
        status = 500  # what is answered in our place if nothing is
        answered_at: float | None = None

        async def send_and_look(message: Message) -> None:
            nonlocal status, answered_at
            if message["type"] == "http.response.start":
                status, answered_at = int(message["status"]), time.perf_counter()
            await send(message)

        self._measures.begin()
        with structlog.contextvars.bound_contextvars(**_trace()):
            try:
                await self._app(scope, receive, send_and_look)
            finally:
                ended_at = time.perf_counter()
                latency = (answered_at or ended_at) - began_at
                self._note(scope, status, latency, ended_at - began_at)

    def _note(self, scope: Scope, status: int, latency: float, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", None)
        self._measures.end(method, route, status, latency)
        if route in PROBES and status < 400:
            return
        caller: Caller | None = scope.get("state", {}).get("caller")
        who = {"project_id": caller.project_id, "key_id": caller.key_id} if caller else {}
        log.info(
            "request.finished",
            method=method,
            route=route,
            status=status,
            seconds=round(seconds, 6),
            **{name: value for name, value in who.items() if value is not None},
        )


def _trace() -> dict[str, str]:
    trace_id = tracing.current_trace_id()
    return {"trace_id": trace_id} if trace_id else {}
