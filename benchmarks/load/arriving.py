"""Requests that come by chance, at a rate: none waits for the ones before, as with real clients."""

import asyncio
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.api.load import Asked


@dataclass
class Taken:
    """Seconds from the moment a request was to be sent to its answer, by kind; and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: int = 0

    def figures(self, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {f"{prefix}_errors": self.errors}
        for kind, seconds in sorted(self.seconds.items()):
            found[f"{prefix}_{kind}_p50_ms"] = round(statistics.median(seconds) * 1000, 1)
            found[f"{prefix}_{kind}_p99_ms"] = round(p99(seconds) * 1000, 1)
        return found


def p99(values: Sequence[float]) -> float:
    """Return the value that one of a hundred exceeds; of fewer than a hundred the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def arrive(kinds: Mapping[str, tuple[float, Asked]], *, rate: float, seconds: float, seed: int = 0) -> Taken:
    """Send requests for `seconds`, `rate` of them a second in the mean, with exponential pauses.

    Args:
        kinds: The share of each kind, and what it asks.
    """
    return asyncio.run(_arrive(kinds, rate, seconds, random.Random(seed)))  # noqa: S311  chance, no secret


async def _arrive(
    kinds: Mapping[str, tuple[float, Asked]], rate: float, seconds: float, chance: random.Random
) -> Taken:
    taken, under_way = Taken(), set[asyncio.Task[None]]()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    names, shares = list(kinds), [share for share, _ in kinds.values()]
    due = begun = time.perf_counter()
    while (due := due + chance.expovariate(rate)) < begun + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        (kind,) = chance.choices(names, shares)
        task = asyncio.create_task(ask(kinds[kind][1], kind, due, taken, idle))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    for _, writer in idle:
        writer.close()
    return taken


async def ask(
    asked: Asked,
    kind: str,
    due: float,
    taken: Taken,
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> None:
    """Send one request, by a connection that is idle if there is one, and note what came of it."""
    address, writer = urlsplit(asked.url), None
    try:
        while idle and idle[-1][0].at_eof():  # a server closes what nobody has used for seconds
            idle.pop()[1].close()
        reader, writer = idle.pop() if idle else await asyncio.open_connection(address.hostname, address.port)
        writer.write(asked.raw())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError, ValueError):
        taken.errors += 1
        if writer is not None:
            writer.close()
        return
    if head[9:10] == b"2":
        taken.seconds[kind].append(time.perf_counter() - due)
    else:
        taken.errors += 1
    idle.append((reader, writer))
