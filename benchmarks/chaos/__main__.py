"""`python -m benchmarks.chaos --profile team --seconds 90 --seed 1 --json`.

Starts a service of its own on loopback, with servers of its own, a pipeline without a model and short
leases; sends it jobs, and meanwhile kills, freezes, stops and restarts what it is made of. Then all is
left in peace until every job has ended, and what is stored is compared with what was promised. Prints
what came of it; the exit status is 1 if anything was lost, made twice, wrong or missing.
"""

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.db.engine import Database, make_engine
from app.jobs.models import WorkSpan
from app.settings import Settings
from benchmarks.chaos.faults import Faults, Hit
from benchmarks.chaos.load import Load
from benchmarks.chaos.oracle import Findings, look_over
from benchmarks.chaos.stages import Stage, stage
from benchmarks.chaos.units import kill_ours

TO_BEGIN: Final = 120.0
TO_CALM: Final = 300.0
"""Seconds that the service may take to begin, and to bring all jobs to their end. Bounds, no targets."""


def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(prog="benchmarks.chaos", description=__doc__)
    parser.add_argument("--profile", choices=["embedded", "team"], default="embedded")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=2.5, help="Seconds between two faults, on average.")
    parser.add_argument(
        "--faults",
        type=int,
        default=0,
        help="Go on until there were so many, for four times as long at most.",
    )
    parser.add_argument("--keep", type=Path, help="Folder for data and logs, kept afterwards.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
        report = run(asked, asked.keep.absolute())
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = run(asked, Path(folder))
    if asked.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:16} {value}")
    return 1 if report["findings"] else 0


def run(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Put a service through it. Returns the report.

    Raises:
        TimeoutError: The service did not begin.
    """
    actions: Counter[str] = Counter()
    with stage(asked.profile, folder) as made:
        load = Load(made.url, random.Random(f"{asked.seed} load"), actions)  # noqa: S311  not a secret
        load.start()
        try:
            _until_it_begins(made, load)
            faults = Faults(made, random.Random(f"{asked.seed} faults"), asked.pace)  # noqa: S311
            lasted = _trouble(made, faults, asked.seconds, asked.faults)
            calm_after = _calm(made, faults, load)
        finally:
            load.stop()
        left = _left_over(faults, made)
        for unit in made.units:
            unit.stop(8)
        return {
            **_counted(faults, load, actions),
            "trouble_seconds": round(lasted, 1),
            "calm_after": round(calm_after, 1),
            **_found(made, faults, load, left),
        }


def _until_it_begins(made: Stage, load: Load) -> None:
    until = time.monotonic() + TO_BEGIN
    while not load.jobs:
        if time.monotonic() > until:
            logs = [unit.log.read_text(errors="replace")[-2000:] for unit in made.units if unit.log.exists()]
            raise TimeoutError("the service took no job\n" + "\n".join([*load.surprises[:3], *logs]))
        made.keep_up()
        time.sleep(0.1)


def _trouble(made: Stage, faults: Faults, seconds: float, least: int) -> float:
    """Do one thing after another. Returns how long that was done."""
    began = time.monotonic()
    while (lasted := time.monotonic() - began) < (seconds if faults.counts.total() >= least else 4 * seconds):
        made.keep_up()
        faults.step()
        time.sleep(0.1)
    return lasted


def _calm(made: Stage, faults: Faults, load: Load) -> float:
    """Wait until every job has ended. Returns how long that took."""
    faults.repair()
    load.quiet.set()
    began = time.monotonic()
    while not load.is_done() and time.monotonic() - began < TO_CALM:
        made.keep_up()
        time.sleep(0.1)
    return time.monotonic() - began


def _left_over(faults: Faults, made: Stage) -> list[str]:
    """Return the processes without a parent that did not end by themselves, after ending them."""
    data_dir = str(made.data_dir)
    return [f"process {pid} has outlived its parent" for pid in faults.orphans if kill_ours(pid, data_dir)]


def _counted(faults: Faults, load: Load, actions: Counter[str]) -> dict[str, Any]:
    return {
        "jobs": len(load.jobs),
        "faults": dict(sorted(faults.counts.items())),
        "faults_in_all": faults.counts.total(),
        "actions": dict(sorted(actions.items())),
    }


def _found(made: Stage, faults: Faults, load: Load, left: list[str]) -> dict[str, Any]:
    engine = make_engine(made.database_url)
    database = Database(engine)
    try:
        settings = Settings(data_dir=made.data_dir)
        found = look_over(database, settings, [job.expected() for job in load.jobs])
        waits = reclaims(database, faults.hits, {job.job_id for job in load.jobs if job.disturbed})
    finally:
        engine.dispose()
    return {
        **{name: len(getattr(found, name)) for name in vars(found)},
        "unexpected_answers": len(load.surprises),
        "left_over": len(left),
        "given_up": load.given_up,
        "reclaims": len(waits),
        "reclaim_p50": round(statistics.median(waits), 2) if waits else None,
        "reclaim_max": round(max(waits), 2) if waits else None,
        "findings": _said(found, load, left),
    }


def _said(found: Findings, load: Load, left: list[str]) -> list[str]:
    return [*found.all(), *(f"unexpected answer: {each}" for each in load.surprises), *left][:50]


def reclaims(database: Database, hits: list[Hit], disturbed: set[str]) -> list[float]:
    """Return the seconds from each loss of a runner to the next claim of its job."""
    waits = []
    with database.read() as session:
        for hit in hits:
            if hit.held.job_id in disturbed:
                continue
            mine = (WorkSpan.job_id == hit.held.job_id, WorkSpan.fence > hit.held.fence)
            began = session.scalars(select(WorkSpan.started_at).where(*mine).order_by(WorkSpan.fence)).first()
            if began is not None and began > datetime.fromtimestamp(hit.at, UTC):
                waits.append(began.timestamp() - hit.at)
    return waits


if __name__ == "__main__":
    sys.exit(main())
