"""The inference process of one machine: real, but with an idle time so short that nothing has to be asked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from app.settings import Settings
from worker.inference.keeper import Keeper


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    keeper = Keeper(Settings(data_dir=tmp_path / "data", device="cpu"))
    yield keeper
    keeper.stop()


def test_it_starts_on_first_use_and_again_after_its_end(keeper: Keeper) -> None:
    assert keeper.pid is None

    first = keeper.address()
    pid = keeper.pid
    assert pid is not None
    assert keeper.address() == first
    assert httpx2.get(f"{first.url}/healthz", timeout=120).json() == {"status": "ok"}
    refused = httpx2.post(f"{first.url}/generate", json={}, headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: keeper.pid is None)

    second = keeper.address()
    assert keeper.pid not in {None, pid}
    assert (second.token, second.url != first.url) == (first.token, True)


def test_it_ends_when_whoever_started_it_does(tmp_path: Path) -> None:
    code = (
        "import time; from app.settings import Settings; from worker.inference.keeper import Keeper; "
        f"keeper = Keeper(Settings(data_dir={str(tmp_path)!r}, device='cpu')); keeper.address(); "
        "print('pid', keeper.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(next(line for line in parent.stdout if line.startswith("pid ")).split()[1])

        parent.kill()

    wait_for(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that has ended may still wait to be noticed."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status != "Z"
