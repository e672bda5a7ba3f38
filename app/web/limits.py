"""What no request may be, whatever it asks for: too long, ambiguous in its length, or for another host."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import AppError, LargeHeadersError, LongUriError, MalformedError
from app.web import problems

MAX_URI: Final = 16_000
"""Most bytes of path and query together."""
MAX_HEADERS: Final = 32_000
"""Most bytes of all headers together, names and values."""
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
"""What the machine itself is called by whoever works on it."""

_CLOSE: Final[Mapping[str, str]] = {"Connection": "close"}


class UriTooLongError(LongUriError):
    code: ClassVar[str] = "uri_too_long"

    def __init__(self) -> None:
        super().__init__(f"path and query may have at most {MAX_URI} bytes together")


class HeadersTooLargeError(LargeHeadersError):
    code: ClassVar[str] = "headers_too_large"

    def __init__(self) -> None:
        super().__init__(f"the headers may have at most {MAX_HEADERS} bytes together")


class AmbiguousLengthError(MalformedError):
    """One server in a row may end such a request elsewhere than the next one: what follows is not read."""

    code: ClassVar[str] = "ambiguous_length"

    def __init__(self) -> None:
        super().__init__("send `Content-Length` or `Transfer-Encoding`, not both")

    def headers(self) -> Mapping[str, str]:
        return _CLOSE


class BadHostError(MalformedError):
    code: ClassVar[str] = "bad_host"

    def __init__(self) -> None:
        super().__init__(
            "the header `Host` names another service than this one; its operator may allow the name with "
            "MIXSD_ALLOWED_HOSTS"
        )


class Limits:
    """Refuses what is wrong with the head of a request, before anything else looks at it."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str] = ()) -> None:
        """Take requests for `allowed_hosts` alone; for any if there are none."""
        self._app = app
        self._allowed_hosts = tuple(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except AppError as error:
                await problems.expected(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URI:
            raise UriTooLongError
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADERS:
            raise HeadersTooLargeError
        names = {name for name, _ in headers}
        if b"content-length" in names and b"transfer-encoding" in names:
            raise AmbiguousLengthError
        if self._allowed_hosts:
            check_host(scope, self._allowed_hosts)


def check_host(scope: Scope, allowed: Sequence[str]) -> None:
    """Do nothing if the request is for one of these hosts; `*.example.com` are all names below that one.

    Raises:
        BadHostError: It is for another one.
    """
    said = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
    if len(said) != 1 or not any(_is(_without_port(said[0]), host) for host in allowed):
        raise BadHostError


def _is(host: str, allowed: str) -> bool:
    return allowed in {host, "*"} or (allowed.startswith("*.") and host.endswith(allowed[1:]))


def _without_port(host: str) -> str:
    """Return a host without its port.

    Example:
        >>> [_without_port(host) for host in ("a.b:80", "a.b", "[::1]:80", "[::1]")]
        ['a.b', 'a.b', '[::1]', '[::1]']
    """
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host
