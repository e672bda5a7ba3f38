"""The API behind a real server, in a thread, and a reader of its streams."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI


@dataclass(frozen=True)
class Message:
    """What a stream said between two empty lines."""

    id: str | None = None
    event: str | None = None
    data: Any = None
    retry: str | None = None
    comment: str | None = None


@contextmanager
def listening(api: FastAPI) -> Iterator[str]:
    """Serve the API on a free port of this machine; give its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        config = uvicorn.Config(api, log_config=None, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 120
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def stream(url: str, after: str | None = None, **headers: str) -> Iterator[Iterator[Message]]:
    """Open a stream, as one that has seen the event `after`; give what it says."""
    asked = {"Accept": "text/event-stream", **headers}
    if after is not None:
        asked["Last-Event-ID"] = after
    with httpx2.Client(timeout=120) as client, client.stream("GET", url, headers=asked) as answer:
        assert answer.status_code == 200, answer.read()
        yield messages(answer.iter_lines())


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Take a stream apart, as the HTML standard says."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name or "comment"] = value.removeprefix(" ")
        elif fields:
            yield _message(fields)
            fields = {}


def _message(fields: Mapping[str, str]) -> Message:
    data = json.loads(fields["data"]) if "data" in fields else None
    return Message(**{**fields, "data": data})


def numbers(said: Iterator[Message], last: int | None = None) -> list[int]:
    """Return the ids of events up to `last`, or to the end of the stream."""
    found = []
    for message in said:
        if message.id is not None:
            found.append(int(message.id))
            if found[-1] == last:
                break
    return found
