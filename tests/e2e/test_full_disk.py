"""A disk that fills up while a job runs."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.e2e.service import STEPS, Outcome, serving

ROOM = 200_000
"""Bytes that are left: enough for one checkpoint of the tiny model, not for two."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 MB. Only root may have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m", "none", folder], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(bytes(free - leave))
    return ballast


def test_a_job_waits_while_the_disk_is_full_and_then_goes_on(
    models: Mapping[str, str], expected: Outcome, small_disk: Path, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path}/mixsd.db"
    environment = {**models, "MIXSD_DATA_DIR": str(small_disk), "MIXSD_DATABASE_URL": database}
    with serving("up", environment, tmp_path) as (service, _):
        job_id = service.submit(slow_in="preparing")
        service.until_in(job_id, "preparing")
        ballast = fill(small_disk, leave=ROOM)

        job = service.until(job_id, lambda job: job["wait_reason"])

        assert (job["status"], job["wait_reason"], job["attempt"]) == ("queued", "waiting_disk", 1)
        assert service.adapters(job_id) == []
        assert [*small_disk.rglob("*.partial"), *small_disk.rglob("*.tmp")] == []
        ballast.unlink()
        engine = create_engine(database)
        with engine.begin() as connection:  # it would wait for a minute
            connection.execute(text("UPDATE jobs SET next_run_at = '2026-01-01 00:00:00'"))
        engine.dispose()
        assert service.succeeded(job_id)["attempt"] == 1
        assert service.outcome(job_id) == expected
        assert service.steps_saved(job_id) == list(range(1, STEPS + 1))
