"""Disks that fail while something is written, and a machine that loses its power."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.db.engine import make_engine
from migrations import upgrade
from tests.faults.conftest import LONG

WRITE = """
import pathlib, sys
from mixsd.durable import whole_folder
folder = pathlib.Path(sys.argv[1])
with whole_folder(folder / "new", folder / ".new.partial") as draft:
    for number in range(3):
        (draft / f"file-{number}").write_bytes(b"x" * 100_000)
"""


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("needs strace")
    command = [found, "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=99", "true"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to trace processes")
    return found


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("fsync", "EIO"),
        ("rename", "EIO"),
        ("rename", "EROFS"),
        ("write", "EIO"),
        ("write", "ENOSPC"),
    ],
)
def test_what_a_failing_disk_has_not_taken_never_gets_its_name(
    strace: str, tmp_path: Path, call: str, error: str
) -> None:
    (tmp_path / "before").mkdir()
    calls = {"rename": "rename,renameat,renameat2", "write": "write", "fsync": "fsync"}[call]
    inject = [strace, "-f", "-qq", "-o", "/dev/null", "-P", str(tmp_path / ".new.partial")]
    inject += [part for n in range(3) for part in ("-P", str(tmp_path / ".new.partial" / f"file-{n}"))]
    inject += ["-e", f"inject={calls}:error={error}:when=1"]

    done = subprocess.run(
        [*inject, sys.executable, "-c", WRITE, str(tmp_path)], check=False, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert ("DiskFullError" if error == "ENOSPC" else "OSError") in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["before"]


STORE = """
import sys
from app import tables
from app.db.engine import Database, make_engine
from tests.factories import a_fact_set
database = Database(make_engine(sys.argv[1]))
while True:
    print(a_fact_set(database, 5).id, flush=True)
"""


def test_the_database_of_a_machine_that_stops_at_any_moment_is_whole_and_has_what_was_answered(
    tmp_path: Path,
) -> None:
    path, answers = tmp_path / "mixsd.db", tmp_path / "answers"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    command = [sys.executable, "-c", STORE, f"sqlite:///{path}"]
    moments = random.Random(3)  # noqa: S311  not a secret
    with answers.open("wb") as output, subprocess.Popen(command, stdout=output) as writer:
        try:
            for number in range(20 if LONG else 6):
                wait_for_more(answers, 5)
                time.sleep(moments.uniform(0, 0.05))
                writer.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
                copy = tmp_path / f"copy-{number}.db"
                for suffix in ("", "-wal"):
                    shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
                promised = known(answers)
                writer.send_signal(signal.SIGCONT)
                check(copy, promised)
        finally:
            writer.kill()


def known(answers: Path) -> set[str]:
    """Return what was answered, as far as the answer is complete."""
    return set(answers.read_text().split("\n")[:-1])


def check(copy: Path, promised: set[str]) -> None:
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    stored = {row[0] for row in connection.execute("SELECT id FROM fact_sets")}
    facts = connection.execute("SELECT count(*) FROM facts").fetchone()[0]
    connection.close()
    assert promised <= stored
    assert facts == 5 * len(stored)


def wait_for_more(answers: Path, count: int) -> None:
    wanted, deadline = len(known(answers)) + count, time.monotonic() + 300
    while len(known(answers)) < wanted:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
