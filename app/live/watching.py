"""Streams of events. All of a process's share one look at the database, however many there are.

A stream holds neither a thread nor a connection while it waits. What it still has to send is a
number, so that a slow client costs no memory: the last events of each job that is watched are kept
once, and older ones are read as the client takes them.

The table of events is the truth. So it does not matter which process writes it, nor how many
processes answer, nor whether one of them was started anew.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import anyio
import structlog
from anyio import CapacityLimiter, to_thread

from app.db.engine import Database, DatabaseFailure
from app.ids import JobId
from app.live import service
from app.live.frames import COMMENT, RETRY, Frame, frame_of, progress_of

log = structlog.get_logger(__name__)

KEPT: Final = service.MOST
"""Events of a job that are kept in memory while it is watched."""

_READERS: Final = 4
"""Streams that read older events at once: they must leave connections for everybody else."""

Still = Callable[[], Awaitable[bool]]
"""Says whether a client may go on reading."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. `comment` is also how often it is asked whether a client may go on reading."""

    poll: float = 0.5
    progress: float = 1.0
    comment: float = 15.0


@dataclass(slots=True)
class _Seen:
    """What a look has found of one job, ready to be sent."""

    frames: list[Frame]
    newest: int
    ended: bool
    progress: bytes | None


@dataclass(slots=True)
class _Channel:
    """A job that is watched. `seq` is the number of the last event that was seen, None before a look.

    `progress` is told to streams whose `told` is another number.
    """

    changed: anyio.Event
    listeners: int = 0
    seq: int | None = None
    tail: deque[Frame] = field(default_factory=lambda: deque(maxlen=KEPT))
    progress: bytes | None = None
    told: int = 0
    told_at: float = float("-inf")
    ended: bool = False
    gone: bool = False

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    def behind(self, sent: int) -> list[Frame] | None:
        """Return what is kept behind `sent`; None if something between is not kept."""
        first = self.tail[0].seq if self.tail else (self.seq or 0) + 1
        return None if sent + 1 < first else list(islice(self.tail, sent + 1 - first, None))

    def over(self, sent: int) -> bool:
        """Say whether nothing follows behind `sent`."""
        return self.gone or (self.ended and self.seq is not None and sent >= self.seq)

    def take(self, seen: _Seen | None, times: Times) -> None:
        """Note what a look has found, None if there is no such job, and wake those who wait."""
        if seen is None:
            self.gone = True
            self.wake()
            return
        self.tail.extend(seen.frames)
        before = (self.seq, self.ended, self.told)
        self.seq = seen.frames[-1].seq if seen.frames else self.seq or seen.newest
        self.ended = seen.ended and self.seq >= seen.newest
        self._note_progress(seen.progress, times)
        if before != (self.seq, self.ended, self.told):
            self.wake()

    def _note_progress(self, progress: bytes | None, times: Times) -> None:
        now = time.monotonic()
        if progress is None:
            self.progress = None
        elif progress != self.progress and now - self.told_at >= times.progress:
            self.progress, self.told_at, self.told = progress, now, self.told + 1


class Live:
    """The streams of a process. Made once; all but the constructor is for the event loop."""

    def __init__(self, database: Database, times: Times) -> None:
        self.open = 0
        """Streams that are open."""
        self._database = database
        self._times = times
        self._channels: dict[JobId, _Channel] = {}
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._newcomer: anyio.Event | None = None
        self._readers = CapacityLimiter(_READERS)
        self._looker = CapacityLimiter(1)

    @property
    def watched(self) -> AbstractSet[JobId]:
        """The jobs that somebody watches."""
        return self._channels.keys()

    def close(self) -> None:
        """End all streams: their clients come again, to whoever answers then."""
        self._closing = True
        for channel in self._channels.values():
            channel.wake()

    async def follow(self, job_id: JobId, after: int, *, still: Still) -> AsyncGenerator[bytes]:
        """Yield what happens to a job behind the event `after`, until it has ended or is deleted.

        Ends early, for the client to come again, if the process ends, the database is away or the
        client may no longer read.
        """
        sent, told = after, 0
        with self._listening(job_id) as channel:
            yield RETRY
            comment_at = time.monotonic() + self._times.comment
            while not self._closing:
                changed = channel.changed
                frames = await self._behind(channel, job_id, sent)
                if frames is None:
                    return
                if frames:
                    sent = frames[-1].seq
                    yield b"".join(frame.data for frame in frames)
                    continue
                if channel.over(sent):
                    return
                if channel.progress is not None and told != channel.told:
                    told = channel.told
                    yield channel.progress
                    continue
                with anyio.move_on_after(comment_at - time.monotonic()):
                    await changed.wait()
                if time.monotonic() >= comment_at:
                    if not await still():
                        return
                    yield COMMENT
                    comment_at = time.monotonic() + self._times.comment

    async def _behind(self, channel: _Channel, job_id: JobId, sent: int) -> list[Frame] | None:
        """Return the next events, none if there are none yet; None if they cannot be read now."""
        if channel.gone or channel.seq is None or sent >= channel.seq:
            return []
        kept = channel.behind(sent)
        return kept if kept is not None else await self._older(job_id, sent)

    async def _older(self, job_id: JobId, sent: int) -> list[Frame] | None:
        def read() -> list[Frame]:
            return [frame_of(event) for event in service.events_behind(self._database, job_id, sent)]

        try:
            return await to_thread.run_sync(read, limiter=self._readers) or None
        except DatabaseFailure as error:
            log.warning("stream.database_unavailable", job_id=job_id, error=type(error).__name__)
            return None

    @contextmanager
    def _listening(self, job_id: JobId) -> Generator[_Channel]:
        channel = self._channels.get(job_id)
        if channel is None:
            channel = self._channels[job_id] = _Channel(anyio.Event())
            self._expect_news()
        channel.listeners += 1
        self.open += 1
        try:
            yield channel
        finally:
            self.open -= 1
            channel.listeners -= 1
            if not channel.listeners:
                self._channels.pop(job_id, None)
            if not self._channels and self._task is not None:
                self._task.cancel()
                self._task = None

    def _expect_news(self) -> None:
        """See to it that somebody looks, and soon."""
        if self._task is None or self._task.done():
            self._newcomer = anyio.Event()
            self._task = asyncio.get_running_loop().create_task(self._watch())
        elif self._newcomer is not None:
            self._newcomer.set()

    async def _watch(self) -> None:
        """Look until nobody listens. A database that is away is looked for again."""
        structlog.contextvars.clear_contextvars()  # those of the request that came first
        look_at = time.monotonic()
        while self._channels:
            self._newcomer = anyio.Event()
            everybody = time.monotonic() >= look_at
            asked = {
                job_id: channel.seq
                for job_id, channel in self._channels.items()
                if everybody or channel.seq is None
            }
            await self._look(asked)
            if everybody:
                look_at = time.monotonic() + self._times.poll
            with anyio.move_on_after(look_at - time.monotonic()):
                await self._newcomer.wait()

    async def _look(self, asked: Mapping[JobId, int | None]) -> None:
        def look() -> dict[JobId, _Seen]:
            return {job_id: _seen(sight) for job_id, sight in service.look(self._database, asked).items()}

        try:
            found = await to_thread.run_sync(look, limiter=self._looker)
        except DatabaseFailure as error:
            log.warning("streams.database_unavailable", error=type(error).__name__)
        except Exception:  # the streams must not wait for ever because of one look
            log.exception("streams.look_failed")
        else:
            for job_id, seq in asked.items():
                channel = self._channels.get(job_id)
                if channel is not None and channel.seq == seq:  # else another one has come since
                    channel.take(found.get(job_id), self._times)


def _seen(sight: service.Sight) -> _Seen:
    progress = progress_of(sight.phase) if sight.phase is not None else None
    return _Seen([frame_of(event) for event in sight.events], sight.newest, sight.ended, progress)
