"""Requests whose frame is wrong, written byte by byte: lengths, chunks, heads, hosts, and silence."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.badinput.served import PROBLEM, Target, assert_problem, bad_input_target, exchange, head

JSON_HEAD: Final = "Content-Type: application/json"
END: Final = b"\r\n"
PATIENCE: Final = 1.0


def problem_in(said: bytes) -> tuple[dict[str, str], dict[str, object]]:
    """Return headers and problem of the one answer in `said`."""
    top, _, body = said.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")[1:]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return headers, json.loads(body)


def refused(target: Target, *parts: bytes, status: int, code: str) -> None:
    got, said = exchange(target, *parts)

    assert got == status, said[:600]
    headers, problem = problem_in(said)
    assert_problem(headers, problem, status, code)
    assert headers["connection"] == "close"
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
        ("Content-Length: +5",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding : chunked",),
        ("X: a\rb",),
        ("X: a\x00b",),
        ("no colon",),
    ],
)
def test_a_head_that_cannot_be_read_ends_the_connection(target: Target, lines: tuple[str, ...]) -> None:
    top = head(target, "POST", "/jobs", JSON_HEAD, *lines)

    refused(target, top + END + b"0" + END + END, status=400, code="malformed_request")


@pytest.mark.parametrize(
    "order",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
    ],
)
def test_a_body_of_two_lengths_is_read_by_neither(target: Target, order: tuple[str, str]) -> None:
    """Else what one server takes for a body would be a request to the next one."""
    smuggled = head(target, "GET", "/jobs") + END

    refused(
        target,
        head(target, "POST", "/jobs", JSON_HEAD, *order) + END + b"0\r\n\r\n" + smuggled,
        status=400,
        code="ambiguous_length",
    )


@pytest.mark.parametrize(
    "chunk", [b"xyz\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFFFFFF\r\n", b"2\r\nabcdef", b"\r\n\r\n"]
)
def test_a_chunk_that_cannot_be_read_ends_the_connection(target: Target, chunk: bytes) -> None:
    top = head(target, "POST", "/jobs", JSON_HEAD, "Transfer-Encoding: chunked") + END

    refused(target, top, chunk, status=400, code="malformed_request")


def test_a_chunked_body_is_counted_as_it_comes(target: Target) -> None:
    top = head(target, "POST", "/jobs", JSON_HEAD, "Transfer-Encoding: chunked", "Connection: close") + END
    chunk = b"10000\r\n" + b" " * 65536 + END

    refused(target, top, *[chunk] * 20, b"0\r\n\r\n", status=413, code="body_too_large")


def test_a_body_that_is_longer_than_it_says_is_no_second_request(target: Target) -> None:
    status, said = exchange(
        target, head(target, "POST", "/jobs", JSON_HEAD, "Content-Length: 2") + END + b"{}garbage\r\n\r\n"
    )

    assert status == 422
    assert said.count(b"HTTP/1.1 ") == 2
    assert b"malformed_request" in said.rpartition(b"HTTP/1.1 400")[2]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00" * 100,
        b"GET /jobs\r\n\r\n",
        b"GET  /jobs HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(target: Target, data: bytes) -> None:
    refused(target, data, status=400, code="malformed_request")


def test_a_long_address_is_refused_whoever_notices(target: Target) -> None:
    for length in (17_000, 64_000, 100_000):
        status, said = exchange(
            target, head(target, "GET", f"/jobs?name={'a' * length}", "Connection: close") + END
        )

        assert status == 414, said[:300]
        assert problem_in(said)[1]["code"] == "uri_too_long"
    many = "&".join(f"p{n}=1" for n in range(10_000))
    assert exchange(target, head(target, "GET", f"/jobs?{many}", "Connection: close") + END)[0] == 414


def test_many_headers_are_refused_whoever_notices(target: Target) -> None:
    for count in (40, 100):
        lines = [f"X-{n}: {'a' * 1000}" for n in range(count)]
        status, said = exchange(target, head(target, "GET", "/jobs", *lines, "Connection: close") + END)

        assert status == 431, said[:300]
        assert problem_in(said)[1]["code"] == "headers_too_large"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "evil.mixsd.test.evil", "mixsd.test@evil"]
)
def test_a_request_for_another_host_is_refused(target: Target, host: str) -> None:
    answer = target.http.get("/healthz", headers={"Host": host})

    assert_problem(answer.headers, answer.json(), 400, "bad_host")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "a.mixsd.test", "A.MIXSD.TEST:8443"])
def test_a_request_for_a_host_that_is_allowed_is_answered(target: Target, host: str) -> None:
    assert target.http.get("/healthz", headers={"Host": host}).status_code == 200


def test_two_hosts_are_none(target: Target) -> None:
    refused(
        target,
        head(target, "GET", "/healthz", "Host: a.mixsd.test") + END,
        status=400,
        code="malformed_request",
    )


def test_an_absolute_address_leads_nowhere_else(target: Target) -> None:
    for place in ("http://169.254.169.254/latest", "http://evil.example/jobs", "//evil.example/jobs", "*"):
        assert exchange(target, head(target, "GET", place, "Connection: close") + END)[0] == 404


def test_a_line_break_in_a_header_is_none(target: Target) -> None:
    """What comes back in a header holds nothing of what was sent."""
    status, said = exchange(
        target, head(target, "GET", "/jobs/x%0d%0aSet-Cookie:%20a=b", "Connection: close") + END
    )

    assert status == 404
    assert b"set-cookie" not in said.partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT", "PROPFIND", "OPTIONS", "HEAD", "X" * 200])
def test_a_method_that_is_not_supported_says_what_is(target: Target, method: str) -> None:
    for path in ("/jobs", "/healthz", "/fact-sets/validate"):
        answer = target.http.request(method, path, headers=target.headers())

        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) <= {"GET", "POST"}


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_is_what_it_is(target: Target, name: str) -> None:
    answer = target.http.get("/jobs/{job}".format(**target.ids), headers={**target.headers(), name: "DELETE"})

    assert answer.status_code == 200
    assert target.get("/jobs/{job}").status_code == 200


def test_an_upgrade_is_not_taken(target: Target) -> None:
    lines = ("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")

    status, said = exchange(target, head(target, "GET", "/healthz", *lines, "Connection: close") + END)

    assert (status, b"101 Switching" in said) == (200, False)


def test_requests_in_a_row_are_answered_in_order(target: Target) -> None:
    first = head(target, "GET", "/healthz") + END
    last = head(target, "GET", "/jobs/nothing", "Connection: close") + END

    _, said = exchange(target, first * 3 + last)

    assert [said.count(f"HTTP/1.1 {status}".encode()) for status in (200, 404)] == [3, 1]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """An API that waits for a second."""
    folder: Path = tmp_path_factory.mktemp("impatient")
    with bad_input_target(folder, MIXSD_REQUEST_TIMEOUT=str(PATIENCE)) as target:
        yield target


def test_a_head_without_an_end_is_not_waited_for(impatient: Target) -> None:
    for begun in (b"G", head(impatient, "GET", "/jobs"), b"POST /jobs HTTP/1.1\r\nX: " + b"a" * 5000):
        refused(impatient, begun, status=408, code="request_timeout")


def test_a_connection_that_says_nothing_is_closed(impatient: Target) -> None:
    assert exchange(impatient) == (0, b"")


@pytest.mark.parametrize("path", ["/jobs", "/fact-sets", "/fact-sets/validate"])
@pytest.mark.parametrize("length", ["Content-Length: 900", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_not_waited_for(impatient: Target, path: str, length: str) -> None:
    refused(
        impatient, head(impatient, "POST", path, JSON_HEAD, length) + END, status=408, code="body_timeout"
    )


def test_a_chunk_of_all_the_bytes_there_are_is_not_waited_for(impatient: Target) -> None:
    top = head(impatient, "POST", "/jobs", JSON_HEAD, "Transfer-Encoding: chunked") + END

    refused(impatient, top, b"FFFFFFFFFFFFFFFF\r\nabc", status=408, code="body_timeout")


def test_a_form_that_does_not_come_is_not_waited_for(impatient: Target) -> None:
    kind = "Content-Type: multipart/form-data; boundary=b"
    top = head(impatient, "POST", "/fact-sets", kind, "Content-Length: 900") + END

    refused(impatient, top, b"--b\r\n", status=408, code="body_timeout")


def test_a_body_in_drops_is_not_waited_for(impatient: Target) -> None:
    """Every drop comes in time, and the whole does not."""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=120) as wire:
        wire.sendall(head(impatient, "POST", "/jobs", JSON_HEAD, "Content-Length: 100000") + END)
        deadline = time.monotonic() + 120
        said = b""
        wire.settimeout(0.1)
        while not said and time.monotonic() < deadline:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has answered, which is read below
                wire.sendall(b" ")
            with suppress(TimeoutError):
                said = wire.recv(65536)

    assert said.startswith(b"HTTP/1.1 408")


def test_a_body_that_nobody_wants_is_not_taken_in_without_end(impatient: Target) -> None:
    """The answer is there at once; who goes on sending is hung up on."""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=120) as wire:
        wire.sendall(head(impatient, "GET", "/healthz", "Content-Length: 100000") + END)
        assert wire.recv(65536).startswith(b"HTTP/1.1 200")
        deadline = time.monotonic() + 120
        closed = False
        while not closed and time.monotonic() < deadline:
            try:
                wire.sendall(b" ")
            except (BrokenPipeError, ConnectionResetError):
                closed = True
            time.sleep(0.05)

    assert closed


def test_200_slow_bodies_keep_nobody_waiting(target: Target) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            wire = stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=120))
            wire.sendall(head(target, "POST", "/jobs", JSON_HEAD, "Content-Length: 900") + END + b"{")
        for _ in range(5):
            assert target.get("/jobs/{job}").status_code == 200
            assert target.http.get("/healthz").status_code == 200
            row = target.http.post(
                "/fact-sets", json={"facts": [{"question": "Q?", "answer": "A"}]}, headers=target.headers()
            )
            assert row.status_code == 201


def test_an_address_is_not_what_a_header_says(target: Target) -> None:
    """No proxy is trusted but one that is not there, so whoever tries keys is counted under one name."""
    answer = target.http.get("/jobs", headers={"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "https"})

    assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
    assert "strict-transport-security" not in answer.headers
