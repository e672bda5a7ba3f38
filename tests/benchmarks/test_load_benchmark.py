"""The benchmark of load runs: small, and for its shape and its counts alone."""

import asyncio
import json
import subprocess
import sys

import pytest

from benchmarks.api.load import Asked
from benchmarks.load.__main__ import from_start_to_end
from benchmarks.load.arriving import Taken, ask


def test_the_benchmark_measures_everything_and_no_job_is_claimed_twice() -> None:
    words = ["--json", "--jobs", "300", "--facts", "300", "--rate", "20", "--seconds", "1"]
    words += ["--workers", "8", "--minutes", "0.05"]
    command = [sys.executable, "-m", "benchmarks.load", *words]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert figures["fill_seconds"] >= 0
    assert figures["claims"] > 0
    assert (figures["double_claims"], figures["refused"], figures["lost"]) == (0, 0, 0)
    assert figures["fsck_problems"] == 0
    for side in ("api", "bare"):
        assert figures[f"{side}_errors"] == 0
        assert 0 < figures[f"{side}_get_p50_ms"] <= figures[f"{side}_get_p99_ms"]
    for process in ("api", "supervisor"):
        assert figures[f"{process}_start_mb"] > 0
        assert figures[f"{process}_end_mb"] > 0
        assert figures[f"{process}_flat"] is (abs(figures[f"{process}_growth"]) <= 0.05)


@pytest.mark.parametrize(("last", "flat"), [(1.04e8, True), (1.06e8, False), (0.94e8, False)])
def test_memory_is_flat_within_a_twentieth(last: float, *, flat: bool) -> None:
    sizes = [1e8, 1e8, 1e8, 3e8, 1.5e8, 2e8, 0.5e8, last, last, last]

    found = from_start_to_end("api", sizes)

    assert (found["api_start_mb"], found["api_end_mb"]) == (100.0, round(last / 1e6, 1))
    assert found["api_flat"] is flat


def test_a_connection_that_the_server_has_closed_meanwhile_is_no_error() -> None:
    taken = asyncio.run(_asked_twice_of_a_server_that_closes())

    assert (taken.errors, len(taken.seconds["get"])) == (0, 2)


async def _asked_twice_of_a_server_that_closes() -> Taken:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    taken, idle = Taken(), list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        asked = Asked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "/")
        for _ in range(2):
            await ask(asked, "get", 0.0, taken, idle)
            async with asyncio.timeout(300):
                await idle[-1][0].read()  # until the server has closed it
        idle.pop()[1].close()
    return taken
