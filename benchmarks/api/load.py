"""Load on an HTTP server: connections that are kept, each asking as fast as it is answered."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


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

    Raises:
        RuntimeError: An answer was none of 2xx.
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
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if head[9:10] != b"2":
                raise RuntimeError((head + body).decode(errors="replace")[:600])
            taken.append(time.perf_counter() - begun)
    finally:
        writer.close()
        await writer.wait_closed()
    return taken
