"""Bodies: counted while they are read, and parsed strictly."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, ClassVar, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.errors import InvalidError, LateError, MalformedError, TooLargeError, UnsupportedMediaError
from app.settings import Settings

SLOWEST: Final = 1000
"""Bytes a second below which a body is not waited for, once the time that all have is used up."""


class BodyTooLargeError(TooLargeError):
    code: ClassVar[str] = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body may have at most {limit} bytes")


class MediaTypeError(UnsupportedMediaError):
    code: ClassVar[str] = "unsupported_media_type"

    def __init__(self, expected: str) -> None:
        super().__init__(f"send the body with Content-Type {expected} and without Content-Encoding")


class BrokenOffError(MalformedError):
    """The client went away. Nobody reads the answer, but the log need not speak of a bug."""

    code: ClassVar[str] = "body_broken_off"


class SlowBodyError(LateError):
    code: ClassVar[str] = "body_timeout"

    def __init__(self) -> None:
        super().__init__("the body did not come in time: send the request again, faster")

    def headers(self) -> Mapping[str, str]:
        return {"Connection": "close"}


class RepeatedParameterError(InvalidError):
    """Which of several values counts is not for us to guess."""

    code: ClassVar[str] = "repeated_parameter"

    def __init__(self) -> None:
        super().__init__("the query has a parameter twice: send each once")


class NulError(MalformedError):
    code: ClassVar[str] = "nul_character"


def media_type(request: Request) -> str:
    """Return the type of the body, lower case and without parameters; empty if it is not said."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return ""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def counted(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """Yield the body in parts.

    Raises:
        BodyTooLargeError: It is longer than `limit`, by its own account or as it turns out.
        SlowBodyError: It does not come, or comes too slowly.
        BrokenOffError: The client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLargeError(limit)
    size = 0
    settings: Settings = request.app.state.settings
    async for part in _in_time(request.stream(), settings.request_timeout.total_seconds()):
        size += len(part)
        if size > limit:
            raise BodyTooLargeError(limit)
        yield part


async def _in_time(parts: AsyncGenerator[bytes], patience: float) -> AsyncGenerator[bytes]:
    """Yield parts as they come, waiting `patience` seconds in all; each kilobyte wins one of them back.

    Raises:
        SlowBodyError: It takes longer. What is done with the parts does not count.
        BrokenOffError: The client went away.
    """
    clock = asyncio.get_running_loop().time
    left = patience
    while True:
        asked_at = clock()
        try:
            async with asyncio.timeout(left):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise SlowBodyError from None
        except ClientDisconnect:
            raise BrokenOffError("the body broke off") from None
        left = min(patience, left - (clock() - asked_at) + len(part) / SLOWEST)
        yield part


async def read_body(request: Request, limit: int) -> bytes:
    """Read the whole body, of which not more than the limit is kept in memory. Raises as `counted` does."""
    return b"".join([part async for part in counted(request, limit)])


class StrictRoute(APIRoute):
    """A route whose body, where it has one, is JSON that `app.state.decode` takes.

    Where the body may be left out, an empty one of whatever type is none.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        may_be_empty = not self.body_field.field_info.is_required()

        async def handle_strictly(request: Request) -> Response:
            settings: Settings = request.app.state.settings
            body = await read_body(request, settings.max_body_bytes) if may_be_empty else None
            if body == b"":
                return await handle(_ParsedRequest(request, body, None))
            if not is_json(media_type(request)):
                raise MediaTypeError("application/json")
            if body is None:
                body = await read_body(request, settings.max_body_bytes)
            parsed = request.app.state.decode(body)
            return await handle(_ParsedRequest(request, body, parsed))

        return handle_strictly


class _ParsedRequest(Request):
    """Gives FastAPI what was parsed already."""

    def __init__(self, request: Request, body: bytes, parsed: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._given, self._parsed = body, parsed

    async def body(self) -> bytes:
        return self._given

    async def json(self) -> Any:
        return self._parsed


async def check_address(request: Request) -> None:
    """Refuse NUL in path and query, since Postgres cannot even compare with it; and what is there twice."""
    pairs = request.query_params.multi_items()
    if any("\x00" in part for part in (request.url.path, *(part for pair in pairs for part in pair))):
        raise NulError("path and query may not hold the character NUL")
    if any(count > 1 for count in Counter(name for name, _ in pairs).values()):
        raise RepeatedParameterError
