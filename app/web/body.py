"""Bodies: counted while they are read, and parsed strictly."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.errors import MalformedError, TooLargeError, UnsupportedMediaError
from app.settings import Settings


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
        BrokenOffError: The client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLargeError(limit)
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise BodyTooLargeError(limit)
            yield part
    except ClientDisconnect:
        raise BrokenOffError("the body broke off") from None


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


def refuse_nul(request: Request) -> None:
    """Refuse NUL in path and query: Postgres cannot even compare with it."""
    given = [request.url.path, *(part for pair in request.query_params.multi_items() for part in pair)]
    if any("\x00" in part for part in given):
        raise NulError("path and query may not hold the character NUL")
