"""A digest of the body, taken while the route reads it, of requests that may come again."""

import hashlib
from email.message import Message as Headers
from typing import Final

from starlette.datastructures import Headers as RequestHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY: Final = "Idempotency-Key"
_RAW_KEY: Final = KEY.lower().encode()
_STATE: Final = "body_digest"


class _Digest:
    """Of the bytes without the boundary of a multipart body, which is another one each time."""

    def __init__(self, content_type: str) -> None:
        said = Headers()
        said["Content-Type"] = content_type
        multipart = said.get_content_maintype() == "multipart"
        self._boundary = ((said.get_boundary() if multipart else None) or "").encode()
        self._sha256 = hashlib.sha256()
        self._rest = b""

    def update(self, part: bytes) -> None:
        if not self._boundary:
            self._sha256.update(part)
            return
        there = (self._rest + part).replace(self._boundary, b"")
        whole = max(0, len(there) - len(self._boundary) + 1)  # behind it a boundary may have begun
        self._sha256.update(there[:whole])
        self._rest = there[whole:]

    def hexdigest(self) -> str:
        whole = self._sha256.copy()
        whole.update(self._rest)
        return whole.hexdigest()


class BodyDigest:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or all(name != _RAW_KEY for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        digest = _Digest(RequestHeaders(scope=scope).get("content-type", ""))
        scope.setdefault("state", {})[_STATE] = digest

        async def receive_and_digest() -> Message:
            message = await receive()
            digest.update(message.get("body", b""))
            return message

        await self._app(scope, receive_and_digest, send)


def body_sha256(scope: Scope) -> str:
    """Return the digest of what was read of the body: for a route that takes none, of nothing."""
    digest: _Digest = scope["state"][_STATE]
    return digest.hexdigest()
