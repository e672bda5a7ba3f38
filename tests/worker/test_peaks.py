"""The memory that a phase takes at its peak."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker import peaks

SIZE = 64 * 2**20
TAKEN = f"""
from worker import peaks
peaks.begin()
before = peaks.peak().host
block = bytearray(b"x") * {SIZE}  # every page is written to
del block
taken = peaks.peak().host
peaks.begin()
print(before, taken, peaks.peak().host)
"""


def measured() -> tuple[int, int, int]:
    """Bytes before a block, with it, and begun anew after it, of a process that has taken nothing else."""
    done = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, check=True)
    before, taken, anew = map(int, done.stdout.split())
    return before, taken, anew


def can_forget() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def test_what_was_taken_and_given_back_counts() -> None:
    before, taken, _ = measured()

    assert taken - before >= SIZE // 2


@pytest.mark.skipif(not can_forget(), reason="this system does not forget the peak of a process")
def test_what_was_taken_before_it_was_begun_anew_counts_no_more() -> None:
    _, taken, anew = measured()

    assert taken - anew >= SIZE // 2


def test_a_cpu_has_no_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    assert peaks.peak().device is None


def test_the_gpus_that_are_in_use_are_summed_up_and_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        reset_peak_memory_stats=begun.append,
        max_memory_allocated=[100, 20].__getitem__,
    )
    torch: Any = SimpleNamespace(cuda=cuda)
    monkeypatch.setitem(sys.modules, "torch", torch)

    peaks.begin()

    assert begun == [0, 1]
    assert peaks.peak().device == 120


def test_cuda_that_is_not_in_use_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
    torch: Any = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False), backends=backends)
    monkeypatch.setitem(sys.modules, "torch", torch)

    peaks.begin()

    assert peaks.peak().device is None


def test_of_metal_it_is_what_its_driver_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: True))
    cuda, mps = (
        SimpleNamespace(is_initialized=lambda: False),
        SimpleNamespace(driver_allocated_memory=lambda: 7),
    )
    torch: Any = SimpleNamespace(cuda=cuda, backends=backends, mps=mps)
    monkeypatch.setitem(sys.modules, "torch", torch)

    assert peaks.peak().device == 7
