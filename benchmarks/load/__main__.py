"""Measures, and prints what came of it."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlalchemy import text

from app.db.engine import make_engine, without_limits
from app.storage import LocalStore
from benchmarks.api.load import Asked
from benchmarks.api.setting import MODEL, Team, a_team, database, served, workers_of
from benchmarks.load.arriving import arrive
from benchmarks.load.rows import QUEUE, add_waiting, fill, store_files
from benchmarks.load.working import Crowd
from worker.fsck.checking import check_service

_SAMPLES: Final = 20
_FLAT: Final = 0.05
"""Share by which memory may have changed and still count as what it was."""
_POST: Final = {"base_model": MODEL, "fact_set_id": "fset_ten", "method": {"type": "mixsd", "lam": 0.3}}


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="That have ended, and as many that wait.")
    parser.add_argument("--facts", type=int, default=1_000_000, help="In one set.")
    parser.add_argument("--rate", type=float, default=50.0, help="Requests a second.")
    parser.add_argument("--seconds", type=float, default=60.0, help="Of each phase.")
    parser.add_argument("--workers", type=int, default=100, help="That claim, beat and finish.")
    parser.add_argument("--minutes", type=float, default=10.0, help="For which memory is watched. 0: not.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, database() as url:
        figures = {"load_average": round(os.getloadavg()[0], 1), **measure(url, Path(folder), asked)}
    if asked.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:28} {value}")


def measure(url: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    engine = make_engine(url)
    team = a_team(engine, "load", 1)
    begun = time.perf_counter()
    fill(engine, team, jobs=asked.jobs, facts=asked.facts, model=MODEL)
    figures: dict[str, Any] = {"jobs": asked.jobs, "facts": asked.facts}
    figures["fill_seconds"] = round(time.perf_counter() - begun, 1)
    ours = served("--factory app.main:create_app", url, folder, {})
    bare = served("benchmarks.api.bare:app", url, folder, {"BENCHMARK_PROJECT": team.project_id})
    with ours as (api, pid), bare as (plain, _):
        once = {"rate": asked.rate, "seconds": asked.seconds}
        arrive(mixed(api, team), rate=asked.rate, seconds=min(3.0, asked.seconds))
        arrive(mixed(plain, team), rate=asked.rate, seconds=min(3.0, asked.seconds))
        figures |= arrive(mixed(plain, team), **once).figures("bare")
        figures |= arrive(mixed(api, team), **once).figures("api")
        add_waiting(engine, team, jobs=asked.jobs, model=MODEL)
        crowd = Crowd(url, asked.workers)
        started = crowd.start()
        meanwhile = arrive(mixed(api, team), **once).figures("api_beside_workers")
        figures |= crowd.stop(started) | meanwhile
        if asked.minutes:
            figures |= flat(engine, api, team, workers_of(pid), asked)
    figures |= checked(engine, folder)
    engine.dispose()
    return figures


def mixed(url: str, team: Team) -> Mapping[str, tuple[float, Asked]]:
    """Return what clients ask for: mostly how a job is going."""
    return {
        "get": (0.8, Asked(url, f"/jobs/{team.job_id}", team.key)),
        "list": (0.15, Asked(url, "/jobs?limit=50", team.key)),
        "post": (0.05, Asked(url, "/jobs", team.key, json.dumps(_POST).encode())),
    }


def flat(engine: Any, api: str, team: Team, pids: list[int], asked: argparse.Namespace) -> dict[str, Any]:
    """Return how memory goes while the service is asked. What requests once leave behind is not counted."""
    with engine.begin() as connection:  # nothing for the supervisor to run
        without_limits(connection)
        connection.execute(text("UPDATE jobs SET queue = :queue"), {"queue": QUEUE})
    kinds = {name: one for name, one in mixed(api, team).items() if name != "post"}
    pause = asked.minutes * 60 / _SAMPLES
    samples: dict[str, list[float]] = {"api": [], "supervisor": []}
    with supervisor(engine.url.render_as_string(hide_password=False)) as worker:
        arrive(kinds, rate=asked.rate, seconds=min(5.0, pause))
        for _ in range(_SAMPLES):
            arrive(kinds, rate=asked.rate, seconds=pause)
            samples["api"].append(sum(map(resident, pids)))
            samples["supervisor"].append(resident(worker))
    found: dict[str, Any] = {"memory_minutes": asked.minutes}
    for name, sizes in samples.items():
        found |= from_start_to_end(name, sizes)
    return found


def from_start_to_end(name: str, sizes: Sequence[float]) -> dict[str, Any]:
    """Return how memory went, by the medians of the first and the last fifth of samples of it."""
    fifth = len(sizes) // 5
    early, late = median(sizes[:fifth]), median(sizes[-fifth:])
    growth = round(late / early - 1, 4)
    return {
        f"{name}_start_mb": round(early / 1e6, 1),
        f"{name}_end_mb": round(late / 1e6, 1),
        f"{name}_growth": growth,
        f"{name}_flat": abs(growth) <= _FLAT,
    }


@contextmanager
def supervisor(url: str) -> Iterator[int]:
    """Run a real one, which finds no job. Gives its process id."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MIXSD_DATABASE_URL": url, "MIXSD_DATA_DIR": folder}
        command = [sys.executable, "-m", "tests.worker.loop"]
        with subprocess.Popen(command, env=environment, start_new_session=True) as process:
            try:
                time.sleep(5)
                yield process.pid
            finally:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it if it does not."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def resident(pid: int) -> int:
    """Return the bytes that a process has in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def checked(engine: Any, folder: Path) -> dict[str, Any]:
    """Return how long `mixsd fsck --no-hash` takes on all of it."""
    from datetime import timedelta

    with engine.begin() as connection:  # rows that only some of a job belong to
        without_limits(connection)
        connection.execute(text("DELETE FROM jobs WHERE id NOT LIKE 'job_done%'"))
    store_files(engine, folder / "artifacts")
    begun = time.perf_counter()
    report = check_service(
        engine, store=LocalStore(folder / "artifacts"), work=folder / "work", keep=timedelta(days=3)
    )
    return {
        "fsck_seconds": round(time.perf_counter() - begun, 1),
        "fsck_problems": sum(len(check.problems) for check in report.checks),
    }


if __name__ == "__main__":
    main()
