"""The service keeps its promises while its parts are killed, frozen and restarted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from app.adapters.models import AdapterFile
from app.db.engine import Database
from app.settings import Settings
from benchmarks.chaos import faults
from benchmarks.chaos.oracle import Expected, look_over
from tests.worker.finished import a_finished_job
from tests.worker.rig import Rig

NOTHING = (
    "lost",
    "duplicates",
    "wrong_sha",
    "missing_rows",
    "broken_rows",
    "fsck_findings",
    "unexpected_answers",
    "left_over",
)


@pytest.mark.parametrize("profile", ["embedded", "team"])
def test_no_fault_costs_a_job_or_makes_one_twice(profile: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--profile", profile, "--seconds", "45"]
    command += ["--seed", "4", "--pace", "1", "--json", "--keep", str(tmp_path / "kept")]

    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)

    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert {name: report[name] for name in NOTHING} == dict.fromkeys(NOTHING, 0)
    assert report["jobs"] > 0
    assert sum(report["faults"].get(kind, 0) for kind in faults.IN_A_TEAM) > 0
    assert done.returncode == 0


def test_what_fsck_finds_counts_and_so_does_a_job_that_is_gone(database: Database, tmp_path: Path) -> None:
    rig = Rig(database, Settings(data_dir=tmp_path))
    done = a_finished_job(rig)
    asked = [Expected(done, rig.keys[done])]
    assert look_over(database, rig.settings, asked).all() == []

    with database.read() as session:
        sha256 = session.scalars(select(AdapterFile.sha256)).first()
    assert sha256 is not None
    (rig.settings.artifact_dir / sha256[:2] / sha256).unlink()

    found = look_over(database, rig.settings, [*asked, Expected("job_never", [])])

    assert [each for each in found.fsck_findings if sha256 in each]
    assert found.lost == ["job_never is gone"]
