"""GPUs of a machine are shared out by locks, which go with the processes that hold them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from worker.gpus import Gpu, _allowed, find_gpus, report
from worker.slots import Held, Slots


def some_gpus(count: int) -> Sequence[Gpu]:
    return [Gpu(number, f"GPU-{number}", f"GPU-{number}") for number in range(count)]


def taken(slots: Slots, wanted: int = 1) -> Held:
    with slots.choosing() as free:
        return free.keep(wanted)


def free_in(slots: Slots) -> int:
    with slots.choosing() as free:
        return free.count


def test_each_job_has_gpus_of_its_own_until_it_ends(tmp_path: Path) -> None:
    ours, theirs = (Slots(tmp_path / "run", some_gpus(4)) for _ in range(2))

    one, three = taken(ours), taken(theirs, 3)

    visible = [held.environment["CUDA_VISIBLE_DEVICES"].split(",") for held in (one, three)]
    assert [len(each) for each in visible] == [1, 3]
    assert sorted(visible[0] + visible[1]) == [gpu.visible for gpu in some_gpus(4)]
    with ours.choosing() as free:
        assert not free
    three.close()
    assert free_in(ours) == 3
    one.close()


def test_what_is_not_kept_is_free_again(tmp_path: Path) -> None:
    slots = Slots(tmp_path, some_gpus(2))

    with slots.choosing() as free:
        assert free.count == 2

    assert free_in(slots) == 2


def test_jobs_that_share_gpus_go_where_there_is_most_room(tmp_path: Path) -> None:
    slots = Slots(tmp_path, some_gpus(2), jobs_per_gpu=2)

    held = [taken(slots) for _ in range(4)]

    used = [each.environment["CUDA_VISIBLE_DEVICES"] for each in held]
    assert sorted(used[:2]) == sorted(used[2:]) == ["GPU-0", "GPU-1"]
    assert free_in(slots) == 0
    for each in held:
        each.close()


def test_a_job_never_has_the_same_gpu_twice(tmp_path: Path) -> None:
    slots = Slots(tmp_path, some_gpus(2), jobs_per_gpu=3)

    held = taken(slots, 5)

    assert sorted(held.environment["CUDA_VISIBLE_DEVICES"].split(",")) == ["GPU-0", "GPU-1"]
    held.close()


def test_without_gpus_any_number_of_jobs_runs_unless_it_is_bounded(tmp_path: Path) -> None:
    unbounded, bounded = Slots(tmp_path / "a", []), Slots(tmp_path / "b", [], cpu_jobs=2)

    with unbounded.choosing() as free:
        assert free
        assert not free.keep(4).places
    assert not (tmp_path / "a").exists()
    held = [taken(bounded), taken(bounded)]
    assert [each.environment for each in held] == [{}, {}]
    with bounded.choosing() as free:
        assert not free
    held[0].close()
    assert free_in(bounded) == 1
    held[1].close()


HOLD = """
import subprocess, sys
from pathlib import Path
from worker.gpus import Gpu
from worker.slots import Slots
with Slots(Path(sys.argv[1]), [Gpu(0, "GPU-0", "GPU-0")]).choosing() as free:
    held = free.keep(1)
child = subprocess.Popen(["sleep", "600"], pass_fds=held.descriptors)
print(child.pid, flush=True)
child.wait()
"""


def test_a_gpu_is_free_when_the_last_process_that_used_it_is_gone(tmp_path: Path) -> None:
    slots = Slots(tmp_path, some_gpus(1))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        runner = int(worker.stdout.readline())

        while_both_live = free_in(slots)
        worker.kill()
        worker.wait()
        while_the_runner_lives = free_in(slots)
        os.kill(runner, signal.SIGKILL)
        deadline = time.monotonic() + 300
        while free_in(slots) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    assert (while_both_live, while_the_runner_lives) == (0, 0)


def test_gpus_are_as_the_settings_say() -> None:
    def indices(visible: str = "", **settings: str) -> list[int]:
        environ = {"CUDA_VISIBLE_DEVICES": visible}
        return [gpu.index for gpu in find_gpus(Settings.model_validate(settings), environ)]

    assert indices(gpus="0,2,3,2") == [0, 2, 3]
    assert indices(gpus="0,2,3", device="cuda:1") == [2, 3]
    assert indices(gpus="0,1", device="cpu") == []
    assert indices(gpus="") == []
    with pytest.raises(ValidationError, match="gpus"):
        Settings(gpus="0;1")
    assert report(find_gpus(Settings(gpus="1"), {})) == [{"index": 1, "name": None}]


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-1", [1]),
        ("1,7,0", [1]),
        ("GPU", []),
    ],
)
def test_gpus_are_those_that_the_environment_allows(visible: str | None, left: list[int]) -> None:
    assert [gpu.index for gpu in _allowed(some_gpus(3), visible)] == left
