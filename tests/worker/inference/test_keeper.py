"""The inference process of one machine: a real one, which is asked nothing."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from app.settings import Settings
from worker.inference.keeper import Keeper


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """One whose process finds at once that nobody asks anything."""
    keeper = Keeper(Settings(data_dir=tmp_path, device="cpu", inference_idle=timedelta(milliseconds=1)))
    yield keeper
    keeper.stop()


def test_it_starts_on_first_use_and_again_after_it_ended_for_want_of_work(keeper: Keeper) -> None:
    assert keeper.pid is None

    with capture_logs() as logs:
        first = keeper.address()
        wait_for(lambda: keeper.pid is None)
        second = keeper.address()

    pids = [line["pid"] for line in logs if line["event"] == "inference.started"]
    assert len(pids) == len(set(pids)) == 2
    ended = [(line["pid"], line["status"]) for line in logs if line["event"] == "inference.ended"]
    assert ended == [(pids[0], 0)]
    assert (second.token, second.url != first.url) == (first.token, True)


def test_it_serves_this_machine_and_ends_when_whoever_started_it_does(tmp_path: Path) -> None:
    code = (
        "import time; from app.settings import Settings; from worker.inference.keeper import Keeper; "
        f"keeper = Keeper(Settings(data_dir={str(tmp_path)!r}, device='cpu')); url = keeper.address().url; "
        "assert keeper.address().url == url; print('at', keeper.pid, url, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        _, pid, url = next(line for line in parent.stdout if line.startswith("at ")).split()
        try:
            assert httpx2.get(f"{url}/healthz", timeout=120).json() == {"status": "ok"}
            refused = httpx2.post(
                f"{url}/generate", json={}, headers={"Authorization": "Bearer wrong"}, timeout=120
            )
            assert refused.status_code == 401
        finally:
            parent.kill()

    wait_for(lambda: not _runs(int(pid)))


def _runs(pid: int) -> bool:
    """Say whether a process runs; one that has ended may still wait to be noticed."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status != "Z"
