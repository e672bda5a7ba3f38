"""A receiver of webhooks: a real HTTP server on loopback that answers as it is told."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass
class Answer:
    """With the status 0 nothing is written but `body`, and what `goes_on` writes."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    before: Callable[[], Any] = lambda: None
    goes_on: Callable[[BufferedIOBase], Any] = lambda _: None
    """Writes more than `body`, until the sender has heard enough."""


@dataclass(frozen=True)
class Got:
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Remembers what came. Answers from `answers` in turn, the last one for ever."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answers: list[Answer] = [Answer()]
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = receiver.take(Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer.before()
                try:
                    if answer.status:
                        self.send_response(answer.status)
                        for name, value in answer.headers.items():
                            self.send_header(name, value)
                        self.end_headers()
                    self.wfile.write(answer.body)
                    answer.goes_on(self.wfile)
                except OSError:
                    pass  # the sender has heard enough

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def take(self, got: Got) -> Answer:
        with self._lock:
            self.got.append(got)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def ids(self) -> list[str]:
        return [got.headers["webhook-id"] for got in self.got]

    def messages(self, secret: str) -> list[Any]:
        """Return the bodies, each after its signature was checked as a receiver should."""
        return [Verifier(secret).verify(got.body, got.headers) for got in self.got]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()
    if tls is not None:
        receiver.server.socket = tls.wrap_socket(receiver.server.socket, server_side=True)
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
