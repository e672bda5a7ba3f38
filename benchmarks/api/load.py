"""Load on an HTTP server: connections that are kept, each asking as fast as it is answered."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

TRIES: Final = 10
"""Of a request, where the server is busy."""


@dataclass(frozen=True)
class Asked:
    """One request, again and again. `body` is JSON, if there is one."""

    url: str
    path: str
    key: str = ""
    body: bytes = b""

    def raw(self) -> bytes:
        lines = [
            f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1",
            f"Host: {urlsplit(self.url).netloc}",
        ]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def latencies(asked: Asked, *, connections: int, seconds: float) -> list[float]:
    """Return how many seconds each answer took, of all that began within `seconds`; at least one each.

    Where the server says that it is busy (503), it is asked again after the time that it names; the
    answer's time counts from the first asking.

    Raises:
        RuntimeError: An answer was none of 2xx, or the server was busy too often.
    """
    return asyncio.run(_load(asked, connections, seconds))


async def _load(asked: Asked, connections: int, seconds: float) -> list[float]:
    end = time.perf_counter() + seconds
    done = await asyncio.gather(*(_connection(asked, end) for _ in range(connections)))
    return [latency for one in done for latency in one]


async def _connection(asked: Asked, end: float) -> list[float]:
    address = urlsplit(asked.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    raw, taken = asked.raw(), list[float]()
    try:
        while (begun := time.perf_counter()) < end or not taken:
            head, body = await _answered(reader, writer, raw)
            if head[9:10] != b"2":
                raise RuntimeError((head + body).decode(errors="replace")[:600])
            taken.append(time.perf_counter() - begun)
    finally:
        writer.close()
        await writer.wait_closed()
    return taken


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> tuple[bytes, bytes]:
    """Return head and body of the answer, the last one of a server that stays busy."""
    left = TRIES
    while True:
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(_header(head, b"content-length")))
        left -= 1
        if not head.startswith(b"HTTP/1.1 503") or not left:
            return head, body
        await asyncio.sleep(float(_header(head, b"retry-after") or 1))


def _header(head: bytes, name: bytes) -> bytes:
    """Return the value of a header, empty if there is none."""
    return head.lower().partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()
