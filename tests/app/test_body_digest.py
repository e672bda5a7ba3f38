"""The digest of a body, by which requests that come again are told from others."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from app.web.body_digest import BodyDigest, body_sha256

KEY = {"Idempotency-Key": "order 66"}


async def tell_digest(scope: Any, receive: Any, send: Any) -> None:
    request = Request(scope, receive)
    await request.body()
    await PlainTextResponse(body_sha256(scope))(scope, receive, send)


def digest_of(*parts: bytes, kind: str) -> str:
    headers = KEY | {"Content-Type": kind}
    return TestClient(BodyDigest(tell_digest)).post("/", content=iter(parts), headers=headers).text


def multipart(boundary: str, value: str = "rivers") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    return f"{head}{value}\r\n--{boundary}--\r\n".encode()


def test_the_digest_is_that_of_the_whole_body() -> None:
    assert digest_of(b"ab", b"c", kind="text/plain") == digest_of(b"abc", kind="text/plain")
    assert digest_of(b"abc", kind="text/plain") != digest_of(b"abd", kind="text/plain")


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_digest_of_a_form_does_not_depend_on_its_boundary(size: int) -> None:
    kind = 'multipart/form-data; boundary="{}"'
    one = digest_of(multipart("b0undary"), kind=kind.format("b0undary"))
    body = multipart("another-b0undary")
    parts = [body[start : start + size] for start in range(0, len(body), size)]

    assert digest_of(*parts, kind=kind.format("another-b0undary")) == one
    assert digest_of(multipart("b0undary", "lakes"), kind=kind.format("b0undary")) != one
