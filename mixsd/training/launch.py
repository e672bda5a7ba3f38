"""Start the processes that train an adapter together with this one, and end them with it.

The calling process stays the first one, with all its hooks: the others only lend their GPU. That,
and that they die with it, is why neither torchrun nor accelerate starts them: with those every
process is a child of an agent, which starts all of them again when one fails.

All are on one machine and speak over its loopback device: gloo for numbers, nccl for the gradients
of GPUs. They find each other through a file.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch
from torch import distributed

from mixsd.errors import ConfigError, MixsdError, OutOfMemoryError, ProcessLostError
from mixsd.training.follower import OTHER_LOST, OUT_OF_MEMORY, Task

log = logging.getLogger(__name__)

FOLDER: Final = "processes"
"""Where, within the folder of a run, its processes find what they need. Deleted with its end."""

START_SECONDS: Final = 1800.0
"""Longest wait for a process to load the base model."""

_ANSWER: Final = timedelta(minutes=30)
"""Longest that the first process waits for the others' share of a step."""
_PATIENCE: Final = timedelta(days=7)
"""That the others wait for the first, which may ask many questions meanwhile. They end with it."""

_END_SECONDS: Final = 30.0
_EXIT_SECONDS: Final = 15.0
_LAST_LINES: Final = 10
_LAST_CHARACTERS: Final = 2000
_LOOPBACK: Final = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)


def most_processes(device: torch.device) -> int:
    """Return how many processes have a GPU of their own, from that of `device` on; 1 without GPUs."""
    if device.type != "cuda":
        return 1
    return torch.cuda.device_count() - (device.index or 0)


def check_processes(device: torch.device, processes: int) -> None:
    """Refuse more processes than this machine can run.

    Raises:
        ConfigError: Says why, and what to set instead.
    """
    if processes == 1:
        return
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"processes must be 1 on {device.type}: only CUDA and CPUs are trained on together")
    found = most_processes(device)
    if device.type == "cuda" and processes > found:
        raise ConfigError(
            f"processes is {processes}, and there are {found} CUDA devices from {device} on: "
            f"set processes to {found} or less"
        )
    if not distributed.is_available() or (device.type == "cuda" and not distributed.is_nccl_available()):
        raise ConfigError("this build of torch has no process groups: set processes to 1")
    if distributed.is_initialized():
        raise ConfigError("this process is in a process group already: set processes to 1")


@contextmanager
def others(task: Task, device: torch.device, *, on_check: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Have other processes do the same as the block, in one process group with it.

    When the block is left they have ended, or are killed if it raised.

    Args:
        task: What is done. Its plan says by how many processes, this one included.
        device: Of this process.
        on_check: Called often while the others start. May raise to stop.

    Yields:
        What to call in place of `on_check` in the block: it raises if a process is lost, too.

    Raises:
        ConfigError: There cannot be so many.
        ProcessLostError: One of them ended before its time. Says which, and what it said last.
        OutOfMemoryError: Memory ran out in one of them.
    """
    size = task.plan.training.processes
    check_processes(device, size)
    folder = task.work / FOLDER
    threads = torch.get_num_threads()
    each = max(1, threads // size)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    started = _Others(folder, size)
    try:
        task.write(folder)
        started.start(device, threads=each)
        started.wait_until_ready(on_check)
        torch.set_num_threads(each)
        try:
            with group(folder, 0, size, device):
                yield started.and_check(on_check)
        except ProcessLostError as error:
            if (first := started.first_lost()) is not None:
                raise first from error
            raise
        started.wait()
    finally:
        started.kill()
        torch.set_num_threads(threads)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def group(folder: Path, rank: int, size: int, device: torch.device) -> Iterator[None]:
    """Be in the process group of a run within the block.

    Raises:
        ProcessLostError: The others cannot be reached.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _environment(_network()):
        try:
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=distributed.FileStore(str(folder / "group"), size),  # type: ignore[attr-defined]
                rank=rank,
                world_size=size,
                timeout=_PATIENCE if rank else _ANSWER,
            )
        except RuntimeError as error:
            raise ProcessLostError(f"the processes of the run cannot reach each other: {error}") from error
        try:
            yield
        finally:
            if distributed.is_initialized():  # else it was given up, see `mixsd.training.sharded`
                distributed.destroy_process_group()


def say_ready(folder: Path, rank: int) -> None:
    """Tell the first process that this one has loaded what it needs."""
    _ready(folder, rank).touch()


class _Others:
    """The processes but the first."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, device: torch.device, *, threads: int) -> None:
        for rank in range(1, self._size):
            where = f"cuda:{(device.index or 0) + rank}" if device.type == "cuda" else device.type
            with self._log(rank).open("wb") as output:
                self._processes[rank] = subprocess.Popen(
                    [sys.executable, "-m", "mixsd.training.follower", str(self._folder), str(rank), where],
                    stdin=subprocess.PIPE,  # closes when this process ends, and they with it
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=_environment_for(threads),
                )

    def wait_until_ready(self, on_check: Callable[[], None]) -> None:
        """Return once all can be reached.

        Raises:
            ProcessLostError: One ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while missing := [rank for rank in self._processes if not _ready(self._folder, rank).exists()]:
            self.check()
            on_check()
            if time.monotonic() > deadline:
                raise ProcessLostError(f"process {missing[0]} is not ready after {START_SECONDS:.0f} s")
            time.sleep(0.05)

    def and_check(self, on_check: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does both."""

        def both() -> None:
            self.check()
            on_check()

        return both

    def check(self) -> None:
        """Raise if one has failed."""
        for rank, process in self._processes.items():
            if process.poll():
                raise self._lost(rank)

    def first_lost(self) -> MixsdError | None:
        """Return the error of the process for which the others are lost too, if it is one of these.

        Its connections break a moment before it has ended.
        """
        deadline = time.monotonic() + _EXIT_SECONDS
        while time.monotonic() < deadline:
            codes = {rank: process.poll() for rank, process in self._processes.items()}
            if failed := [rank for rank, code in codes.items() if code not in {None, 0, OTHER_LOST}]:
                return self._lost(failed[0])
            if None not in codes.values():
                break
            time.sleep(0.05)
        return None

    def wait(self) -> None:
        """Wait for all to end by themselves, after the block has."""
        deadline = time.monotonic() + _END_SECONDS
        for rank, process in self._processes.items():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %d is killed: it does not end by itself", rank)

    def kill(self) -> None:
        """Leave none behind."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _lost(self, rank: int) -> MixsdError:
        code = self._processes[rank].returncode
        said = self._last_lines(rank)
        which = f"process {rank} of {self._size} (counted from 0)"
        if code == OUT_OF_MEMORY:
            return OutOfMemoryError(f"memory ran out in {which}. It said last:\n{said}")
        how = f"was ended by {_signal(-code)}" if code < 0 else f"ended with code {code}"
        return ProcessLostError(f"{which} {how}. It said last:\n{said}")

    def _last_lines(self, rank: int) -> str:
        try:
            said = self._log(rank).read_text(errors="replace")
        except OSError:
            return "nothing"
        lines = "\n".join(said.splitlines()[-_LAST_LINES:])
        return lines[-_LAST_CHARACTERS:] or "nothing"

    def _log(self, rank: int) -> Path:
        return self._folder / f"log-{rank}.txt"


def _ready(folder: Path, rank: int) -> Path:
    return folder / f"ready-{rank}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _network() -> dict[str, str]:
    """Return what keeps gloo and nccl on this machine."""
    if _LOOPBACK is None:
        return {}
    return {"GLOO_SOCKET_IFNAME": _LOOPBACK, "NCCL_SOCKET_IFNAME": _LOOPBACK}


def _environment_for(threads: int) -> dict[str, str]:
    """Return the environment of another process: without settings of a service, which hold secrets."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MIXSD_")}
    return {**own, "OMP_NUM_THREADS": str(threads)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
