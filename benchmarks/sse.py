"""How many clients one process tells of events: `python -m benchmarks.sse --json`.

Starts the API in a process of its own, opens streams on a few jobs, lets things happen to these, and
has some clients go away and come again. Checks that every client was told of every event once and in
order, and prints what it took: seconds from the commit of an event to its arrival, and the server's
threads, memory and processor time. The clients share this machine with the server.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

import migrations
from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.db.engine import Database, make_engine
from app.events.repository import NewEvent
from app.fact_sets.models import FactSet, FactSetStatus
from app.ids import FactSetId, JobId, new_id
from app.jobs import repository
from app.jobs.models import GPU_QUEUE, Job
from app.jobs.states import Action, JobStatus
from app.projects.models import DEFAULT_PROJECT
from benchmarks.intake import memory, processor_time
from mixsd.cli.child import free_port

_HEADERS: Final = {"Accept": "text/event-stream"}
_TOO_LONG: Final = 300.0
"""Seconds after which the whole is given up."""


@dataclass
class Client:
    """One that watches a job; `leaves` is the event after which it goes away once, and comes again."""

    job_id: JobId
    leaves: int = 0
    seen: list[int] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    async def watch(self, http: httpx2.AsyncClient) -> None:
        while not await self._read(http):
            pass

    async def _read(self, http: httpx2.AsyncClient) -> bool:
        """Read until the end, or until it is time to leave. Returns whether that was the end."""
        seen = {"Last-Event-ID": str(self.seen[-1])} if self.seen else {}
        path = f"/jobs/{self.job_id}/events"
        async with http.stream("GET", path, headers={**_HEADERS, **seen}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    self.seen.append(int(line.removeprefix("id: ")))
                    self.arrived.append(time.monotonic())
                    if self.seen[-1] == self.leaves:
                        self.leaves = 0
                        return False
        return True


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=5)
    parser.add_argument("--events", type=int, default=100, help="Events of each job.")
    parser.add_argument("--database-url", default="", help="An empty Postgres database. Default: SQLite.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = run(asked.clients, asked.jobs, asked.events, asked.database_url)
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(f"{name:24} {value}" for name, value in found.items()))
    sys.exit(0 if found["every_event_once_and_in_order"] else 1)


def run(clients: int, jobs: int, events: int, database_url: str = "") -> dict[str, Any]:
    """Serve, watch, and say what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        url = database_url or f"sqlite:///{folder}/mixsd.db"
        database = Database(make_engine(url))
        migrations.upgrade(database.engine)
        ids = [a_job(database) for _ in range(jobs)]
        port = free_port()
        environment = os.environ | {
            "MIXSD_DATA_DIR": folder,
            "MIXSD_DATABASE_URL": url,
            "MIXSD_AUTH": "off",
            "MIXSD_RATE_LIMIT": "0",
            "MIXSD_MAX_STREAMS": str(2 * clients),
        }
        command = [sys.executable, "-m", "mixsd", "api", "--port", str(port)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
            try:
                return asyncio.run(
                    asyncio.wait_for(watched(database, ids, clients, events, port, server.pid), _TOO_LONG)
                )
            finally:
                server.terminate()
                server.wait()
                database.engine.dispose()


async def watched(
    database: Database, ids: list[JobId], count: int, events: int, port: int, pid: int
) -> dict[str, Any]:
    """Open the streams, let things happen, and compare what was told with what happened."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as http:
        await answering(http)
        idle, threads_before = memory(pid), threads(pid)
        clients = [
            # Every fifth goes away in the middle and comes again.
            Client(ids[n % len(ids)], leaves=events // 2 if n % 5 == 0 else 0)
            for n in range(count)
        ]
        began, used = time.monotonic(), processor_time(pid)
        tasks = [asyncio.create_task(client.watch(http)) for client in clients]
        while any(not client.seen for client in clients):
            failed = [task for task in tasks if task.done() and task.exception()]
            if failed:
                raise RuntimeError("a stream could not be opened") from failed[0].exception()
            await asyncio.sleep(0.05)
        opened = time.monotonic() - began
        open_memory, open_threads = memory(pid), threads(pid)
        committed = await asyncio.to_thread(happen, database, ids, events)
        await asyncio.gather(*tasks)
        seconds, busy = time.monotonic() - began, processor_time(pid) - used
    expected = list(range(1, events + 3))
    delays = [
        at - committed[client.job_id, seq]
        for client in clients
        for seq, at in zip(client.seen, client.arrived, strict=True)
        if (client.job_id, seq) in committed
    ]
    return {
        "sse_clients": count,
        "jobs": len(ids),
        "events_told": sum(len(client.seen) for client in clients),
        "came_again": sum(1 for n in range(count) if n % 5 == 0),
        "every_event_once_and_in_order": all(client.seen == expected for client in clients),
        "open_s": round(opened, 2),
        "seconds": round(seconds, 2),
        "delay_p50_s": round(statistics.median(delays), 3),
        "delay_p99_s": round(sorted(delays)[int(len(delays) * 0.99)], 3),
        "server_cpu_s": round(busy, 2),
        "server_threads_idle": threads_before,
        "server_threads_open": open_threads,
        "mb_above_idle": round((open_memory - idle) / 1e6, 1),
    }


def happen(database: Database, ids: list[JobId], events: int) -> dict[tuple[JobId, int], float]:
    """Let things happen to the jobs, and end them. Returns when each was committed."""
    committed = {}
    for number in range(events):
        for job_id in ids:
            with database.begin() as session:
                said = NewEvent("job.warning", f"number {number} of a benchmark")
                repository.tell(session, job_id, [said], now=database.now(session))
            committed[job_id, number + 2] = time.monotonic()
    for job_id in ids:
        with database.begin() as session:
            now = database.now(session)
            repository.act(session, job_id, Action.CANCEL, project_id=DEFAULT_PROJECT, now=now)
        committed[job_id, events + 2] = time.monotonic()
    return committed


def a_job(database: Database) -> JobId:
    """Store a job that waits for ever, and to which one thing has happened."""
    with database.begin() as session:
        now = database.now(session)
        fact_set = FactSet(
            id=FactSetId(new_id("fset", now=now)),
            project_id=DEFAULT_PROJECT,
            name="none",
            status=FactSetStatus.READY,
            n_facts=0,
            bytes=0,
            sha256="0" * 64,
            created_at=now,
        )
        session.add(fact_set)
        session.flush()
        job = Job(
            id=JobId(new_id("job", now=now)),
            project_id=DEFAULT_PROJECT,
            fact_set_id=fact_set.id,
            labels={},
            base_model="none",
            method_type="mixsd",
            method={"type": "mixsd"},
            training={},
            evaluation={},
            request_sha256="0" * 64,
            queue=GPU_QUEUE,
            status=JobStatus.QUEUED,
            next_run_at=now,
            created_at=now,
        )
        session.add(job)
        session.flush()
        repository.tell(session, job.id, [NewEvent("job.queued", "waits for a worker")], now=now)
    return job.id


async def answering(http: httpx2.AsyncClient) -> None:
    """Return once the server answers."""
    while True:
        try:
            if (await http.get("/healthz")).is_success:
                return
        except httpx2.TransportError:
            await asyncio.sleep(0.1)


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


if __name__ == "__main__":
    main()
