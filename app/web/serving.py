"""The HTTP server as we run it: heads that are not sent in time or cannot be read are answered as errors.

uvicorn by itself waits for the head of a request without end, and refuses a bad one in plain text.
"""

import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.clock import utc_now
from app.ids import new_id
from app.settings import Settings
from app.web.headers import ALWAYS
from app.web.limits import HeadersTooLargeError, UriTooLongError
from app.web.problems import MEDIA_TYPE, Problem
from app.web.request_id import HEADER
from app.web.titles import title_of

_GRACE: Final = 5
"""Seconds that open connections have when the server is to end."""

_UNREADABLE: Final = "this is no HTTP request that can be read"
_LATE: Final = "the head of the request did not come in time"


def config_of(app: Any, settings: Settings) -> uvicorn.Config:
    """Return how an application is served: the application itself writes a line for each request."""
    protocol = type("_Protocol", (Protocol,), {"patience": settings.request_timeout.total_seconds()})
    trusted: dict[str, Any] = {}
    if settings.trusted_proxies:
        trusted["forwarded_allow_ips"] = list(settings.trusted_proxies)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        **trusted,
    )


class Protocol(H11Protocol):
    """A connection that is not waited for without end.

    A head must be whole `patience` seconds after the connection was made or the answer before was
    sent; until then also the rest of a body must have come that nobody wants. For bodies that are
    read the application has limits of its own.
    """

    patience: float = 20.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before and not self.transport.is_closing():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that h11 does not take. Called while its exception is handled."""
        error = sys.exc_info()[1]
        hint = getattr(error, "error_status_hint", 400)
        if hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            self._refuse_long_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed_request", _UNREADABLE)

    def _refuse_long_head(self) -> None:
        if b"\n" in self.conn.trailing_data[0]:
            error = HeadersTooLargeError()
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error.code, str(error))
        else:
            self._refuse(HTTPStatus(414), UriTooLongError.code, str(UriTooLongError()))

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """End a connection on which no head has come; say so if one has begun."""
        if self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", _LATE)
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer with a problem and close; only close if an answer has begun already."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        request_id = new_id("req", now=utc_now())
        problem = Problem(
            title=title_of(status), status=status, detail=detail, code=code, request_id=request_id
        )
        body = json.dumps(problem.model_dump(mode="json", exclude_none=True)).encode()
        headers: Mapping[str, str] = {
            **ALWAYS,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
            HEADER: request_id,
        }
        answer = h11.Response(
            status_code=status,
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            reason=title_of(status).encode(),
        )
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
