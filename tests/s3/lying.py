"""A server in front of one that speaks S3: it passes on what it gets, or does as it was told for a while."""

import http.client
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Call:
    """A request, as a lie sees it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    _server: "LyingServer"

    def pass_on(self, body: bytes | None = None) -> Answer:
        """Have it answered as it should be, with this body if one is given."""
        there = urlsplit(self._server.behind)
        connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=300)
        try:
            connection.request(self.method, self.path, self.body if body is None else body, self.headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OF_THE_HOP]
            return Answer(answer.status, kept, answer.read())
        finally:
            connection.close()

    def gone(self) -> None:
        """Wait until the client or the test has given up."""
        self._server.ending.wait(300)


Lie: TypeAlias = Callable[[Call], Answer | bytes | None]
"""Returns what to answer; bytes are sent as they are before the connection is cut, None is nothing at all."""

HUSH = "X-To-Be-Silent-To"
"""A header of requests that are never answered."""

_OF_THE_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class _Rule:
    method: str
    part: str
    lie: Lie
    left: int


@dataclass
class LyingServer:
    behind: str
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every call, also of those that were answered as they should be."""
    ending: threading.Event = field(default_factory=threading.Event)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        lying: LyingServer = self

        class Handler(_Handler):
            server_of = lying

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def tell(self, method: str, lie: Lie, *, part: str = "", times: int = 1) -> None:
        """Answer the next calls of a method, whose path has this part, with a lie."""
        self._rules.append(_Rule(method, part, lie, times))

    def count(self, method: str, part: str = "") -> int:
        """Return how many such calls there were."""
        return sum(method == one and part in path for one, path in self.seen)

    def is_silent_to(self, method: str, path: str) -> bool:
        """Say, once for each such request, whether silence is what the next rule for it tells.

        Then its sender has to mark it: only who knows which of its requests gets no answer can be
        impatient with that one alone.
        """
        with self._lock:
            rule = self._rule_for(method, path)
            if rule is None or rule.lie is not silence:
                return False
            rule.left -= 1
            return True

    def lie_for(self, method: str, path: str, *, hushed: bool) -> Lie:
        with self._lock:
            self.seen.append((method, path))
            if hushed:
                return silence
            rule = self._rule_for(method, path)
            if rule is None:
                return Call.pass_on
            assert rule.lie is not silence, "the sender has not asked whether there will be an answer"
            rule.left -= 1
            return rule.lie

    def _rule_for(self, method: str, path: str) -> _Rule | None:
        fitting = (rule for rule in self._rules if rule.method == method and rule.part in path)
        return next((rule for rule in fitting if rule.left), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: LyingServer

    def _serve(self) -> None:
        lie = self.server_of.lie_for(self.command, self.path, hushed=HUSH in self.headers)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = lie(Call(self.command, self.path, dict(self.headers.items()), body, self.server_of))
        if isinstance(said, Answer):
            self._send(said)
        else:
            self._cut(said or b"")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _cut(self, first: bytes) -> None:
        self.wfile.write(first)
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  its name there
        """Say nothing."""


def refusal(status: int, code: str) -> Lie:
    """Answer with an error, and do nothing."""
    body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
    return lambda _: Answer(status, [("Content-Type", "application/xml")], body)


def refusal_afterwards(status: int, code: str) -> Lie:
    """Do what is asked, and say that it went wrong."""

    def lie(call: Call) -> Answer | bytes | None:
        call.pass_on()
        return refusal(status, code)(call)

    return lie


def cut(call: Call) -> None:
    """Break the connection off. Nothing was done."""


def cut_afterwards(call: Call) -> None:
    """Do what is asked, and break the connection off instead of an answer."""
    call.pass_on()


def half(call: Call) -> bytes:
    """Send half of the answer, and break the connection off."""
    answer = call.pass_on()
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    return f"HTTP/1.1 {answer.status} OK\r\n{head}\r\n".encode() + answer.body[: len(answer.body) // 2]


def silence(call: Call) -> None:
    """Take the request, and never answer. See `LyingServer.is_silent_to`."""
    call.gone()


def other_bytes(call: Call) -> Answer:
    """Store something else than was sent, of the same length."""
    return call.pass_on(bytes([call.body[0] ^ 1]) + call.body[1:])


def with_headers(**changes: str | None) -> Lie:
    """Do what is asked, and answer with other headers; None leaves one out."""
    new = {name.replace("_", "-"): value for name, value in changes.items()}

    def lie(call: Call) -> Answer:
        answer = call.pass_on()
        kept = [(name, value) for name, value in answer.headers if name.lower() not in new]
        return Answer(answer.status, kept + [(n, v) for n, v in new.items() if v is not None], answer.body)

    return lie
