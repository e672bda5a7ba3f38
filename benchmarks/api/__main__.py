"""Measures, and prints what came of it."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
from sqlalchemy import Engine, text
from sqlalchemy.dialects import postgresql

from app.db.engine import make_engine
from app.db.lists import Cut, cut_by
from app.jobs.models import Job
from benchmarks import intake, sse
from benchmarks.api import training
from benchmarks.api.load import Asked, latencies
from benchmarks.api.setting import FEW, MODEL, Team, a_team, database, served, workers_of

CONNECTIONS: Final = 16
WARM_UP: Final = 1.0


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="Of each thing, in turns.")
    parser.add_argument("--seconds", type=float, default=3.0, help="Of a round.")
    parser.add_argument("--jobs", type=int, default=100_000, help="In the long list.")
    parser.add_argument("--facts", type=int, default=100_000, help="In the upload.")
    parser.add_argument("--clients", type=int, default=500, help="Streams of events. 0: none.")
    parser.add_argument("--polling", type=float, default=10.0, help="Seconds, while a job trains. 0: none.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, database() as url:
        figures = measure(url, Path(folder), asked)
    if asked.clients:
        figures |= streams(asked.clients)
    if asked.polling:
        figures |= training.polling(asked.polling)
    if asked.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:24} {value}")


def measure(url: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    engine = make_engine(url)
    few, many = a_team(engine, "few", FEW), a_team(engine, "many", asked.jobs)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("ANALYZE"))
    ours = served("--factory app.main:create_app", url, folder, {})
    bare = served("benchmarks.api.bare:app", url, folder, {"BENCHMARK_PROJECT": few.project_id})
    with ours as (api, pid), bare as (plain, plain_pid):
        workers = {"api": workers_of(pid), "bare": workers_of(plain_pid)}
        post = json.dumps(
            {"base_model": MODEL, "fact_set_id": few.fact_set_id, "method": {"type": "mixsd", "lam": 0.3}}
        ).encode()
        job = f"/jobs/{few.job_id}"
        figures = {
            **compare("get", asked, workers, Asked(api, job, few.key), Asked(plain, job)),
            **compare(
                "post", asked, workers, Asked(api, "/jobs", few.key, post), Asked(plain, "/jobs", "", post)
            ),
            **lists(api, few, many, asked),
            **upload(api, pid, many, folder, asked.facts),
        }
    figures["list_plan"] = plan(engine, many)
    engine.dispose()
    return figures


def compare(
    name: str, asked: argparse.Namespace, workers: Mapping[str, list[int]], ours: Asked, bare: Asked
) -> dict[str, Any]:
    """Return requests a second of both, in turns, and the ratio of their medians.

    Beside it the ratio of the processor time that the servers spend on a request, without that of the
    database: on a machine that is busy with other things it says more.
    """
    found: dict[str, list[float]] = {"api": [], "bare": []}
    cost: dict[str, list[float]] = {"api": [], "bare": []}
    slow: list[float] = []
    for target in (ours, bare):
        latencies(target, connections=CONNECTIONS, seconds=WARM_UP)
    for _ in range(asked.rounds):
        for side, target in (("api", ours), ("bare", bare)):
            begun, used = time.perf_counter(), _busy(workers[side])
            taken = latencies(target, connections=CONNECTIONS, seconds=asked.seconds)
            found[side].append(len(taken) / (time.perf_counter() - begun))
            cost[side].append((_busy(workers[side]) - used) / len(taken))
            slow += taken if side == "api" else []
    medians = {side: statistics.median(rates) for side, rates in found.items()}
    spent = {side: statistics.median(seconds) for side, seconds in cost.items()}
    return {
        f"{name}_ratio": round(medians["api"] / medians["bare"], 3),
        f"{name}_cpu_ratio": round(spent["bare"] / spent["api"], 3),
        f"{name}_per_s": round(medians["api"], 1),
        f"{name}_bare_per_s": round(medians["bare"], 1),
        f"{name}_cpu_ms": round(spent["api"] * 1000, 2),
        f"{name}_p99_ms": round(statistics.quantiles(slow, n=100)[98] * 1000, 1),
    }


def _busy(workers: list[int]) -> float:
    return sum(map(intake.processor_time, workers))


def lists(api: str, few: Team, many: Team, asked: argparse.Namespace) -> dict[str, Any]:
    """Return how long a page takes in a short list and in a long one, in turns."""
    taken: dict[str, list[float]] = {few.key: [], many.key: []}
    for _ in range(asked.rounds):
        for key in taken:
            page = Asked(api, "/jobs?limit=100&status=succeeded", key)
            taken[key] += latencies(page, connections=1, seconds=asked.seconds / 3)
    short, long = (statistics.median(seconds) for seconds in taken.values())
    return {
        "list_ratio": round(long / short, 3),
        "list_few_ms": round(short * 1000, 1),
        "list_many_ms": round(long * 1000, 1),
        "list_jobs": [FEW, asked.jobs],
    }


def streams(clients: int) -> dict[str, Any]:
    """Return what it takes one process to tell so many clients of events, on SQLite."""
    found = sse.run(clients, jobs=min(5, clients), events=100)
    if not found["every_event_once_and_in_order"]:
        raise RuntimeError("a client was not told everything once and in order")
    return {
        "sse_clients": clients,
        "sse_open_s": found["open_s"],
        "sse_delay_p50_s": found["delay_p50_s"],
        "sse_delay_p99_s": found["delay_p99_s"],
        "sse_mb_above": found["mb_above_idle"],
    }


def plan(engine: Engine, team: Team) -> list[str]:
    """Return the steps by which Postgres reads a page of the long list."""
    from sqlalchemy import select

    statement = select(Job).where(Job.project_id == team.project_id, Job.status == "succeeded")
    page = cut_by(statement, Job.id, Cut(100, ascending=False))
    sql = page.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}").scalar_one()
    return _steps(rows[0]["Plan"])


def _steps(node: Mapping[str, Any]) -> list[str]:
    index = f" on {node['Index Name']}" if "Index Name" in node else ""
    return [
        f"{node['Node Type']}{index}",
        *(step for inner in node.get("Plans", ()) for step in _steps(inner)),
    ]


def upload(api: str, pid: int, team: Team, folder: Path, n: int) -> dict[str, Any]:
    """Send `n` facts in one request, and look at the most memory that a process had."""
    file = folder / "facts.jsonl"
    intake.write(file, "jsonl", n)
    before = {worker: intake.memory(worker) for worker in workers_of(pid)}
    headers = {"Authorization": f"Bearer {team.key}", "Content-Type": "application/jsonl"}
    begun = time.perf_counter()
    answer = httpx2.post(f"{api}/fact-sets", content=intake.blocks(file), headers=headers, timeout=600.0)
    seconds = time.perf_counter() - begun
    if not answer.is_success or answer.json()["n_facts"] != n:
        raise RuntimeError(answer.text[:500])
    grown = [intake.memory(worker) - idle for worker, idle in before.items()]
    return {
        "upload_facts_per_s": round(n / seconds),
        "upload_facts": n,
        "upload_mb_above": round(max(grown, default=0) / 1e6, 1),
    }


if __name__ == "__main__":
    main()
