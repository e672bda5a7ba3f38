"""A bad network: a TCP proxy that can delay, drip, cut, swallow and half close what goes through it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Mode(StrEnum):
    OPEN = "open"
    DELAY = "delay"
    """Each piece waits for `Proxy.seconds`."""
    DRIP = "drip"
    """Bytes come one by one, `Proxy.seconds` apart."""
    BLACKHOLE = "blackhole"
    """Connections stay open, new ones are accepted, and nothing comes through in either direction."""
    REFUSE = "refuse"
    """New connections are reset at once."""


@dataclass(eq=False)
class Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    mute: bool = False
    """Whether answers of the server are thrown away."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by an answer that was thrown away."""

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens on a loopback port of its own and passes on what it gets, as `mode` says."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.mode = Mode.OPEN
        self.seconds = 0.05
        self.swallow_answer_to: bytes | None = None
        """Once these bytes were passed on to the server, the client hears nothing more and is cut off."""
        self.swallow_after: bytes | None = None
        """The same, but only from the moment on at which these were passed on."""
        self.cut_after: int | None = None
        """Bytes from clients, all together, after which every connection is cut."""
        self.port = 0
        self.cuts = 0
        self._passed = 0
        self._pieces = 0
        self._open: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what tests do

    def reset(self) -> None:
        """Break all connections off."""
        self._run(self._on_all(Link.cut))

    def half_close(self) -> None:
        """Tell each client that nothing more will come; what it sends still goes through."""
        self._run(self._on_all(lambda link: _no_more(link.client)))

    def passed_from_clients(self) -> int:
        return self._passed

    def pieces_from_server(self) -> int:
        return self._pieces

    # -- inside

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=120)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._on_all(Link.cut)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _on_all(self, act: Callable[[Link], None]) -> None:
        for link in list(self._open):
            act(link)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:
            writer.transport.abort()
            return
        try:
            there, to_there = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, to_there)
        self._open.add(link)
        try:
            await asyncio.gather(self._up(reader, link), self._down(there, link))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.cut()
            self._open.discard(link)

    async def _up(self, client: asyncio.StreamReader, link: Link) -> None:
        while data := await client.read(65536):
            self._passed += len(data)
            cut = self._is_to_be_cut(data)
            link.mute |= cut
            await self._as_the_mode_says(link.server, data)
            if cut:
                await link.answered.wait()  # the server has done what it was told
                self.cuts += 1
                link.cut()
                return
        _no_more(link.server)

    async def _down(self, server: asyncio.StreamReader, link: Link) -> None:
        while data := await server.read(65536):
            self._pieces += 1
            if link.mute:
                link.answered.set()
            else:
                await self._as_the_mode_says(link.client, data)
        link.answered.set()
        if not link.mute:
            _no_more(link.client)

    def _is_to_be_cut(self, data: bytes) -> bool:
        if self.swallow_after is not None:
            if self.swallow_after in data:
                self.swallow_after = None
        elif self.swallow_answer_to is not None and self.swallow_answer_to in data:
            self.swallow_answer_to = None
            return True
        if self.cut_after is not None and self._passed >= self.cut_after:
            self.cut_after = None
            return True
        return False

    async def _as_the_mode_says(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        while self.mode is Mode.BLACKHOLE:  # noqa: ASYNC110  tests change it from another thread
            await asyncio.sleep(0.02)
        if self.mode is Mode.DELAY:
            await asyncio.sleep(self.seconds)
        pieces = [data[i : i + 1] for i in range(len(data))] if self.mode is Mode.DRIP else [data]
        for piece in pieces:
            sink.write(piece)
            await sink.drain()
            if self.mode is Mode.DRIP:
                await asyncio.sleep(self.seconds)


def _no_more(writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof():
        writer.write_eof()
