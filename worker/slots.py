"""Places for jobs on a machine: who may use which GPU, among all workers that share a data folder.

A place is a file that is locked while a job has it. The lock is the kernel's: it goes with the
last process that holds it, the runner among them, so a worker that is killed leaves nothing
behind. GPUs are known by their ids, so it does not matter whether workers run in containers.
"""

import fcntl
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from worker.gpus import VISIBLE, Gpu

_PATIENCE: Final = 2.0
"""Seconds to wait for another worker that is choosing a job."""
_PAUSE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """A GPU, or a share of the processors, that a job may have; locked by the open file."""

    gpu: Gpu | None
    file: IO[str]


@dataclass(frozen=True, slots=True)
class Held:
    """What a job has. Without places nothing is shared out, and it takes what it finds."""

    places: Sequence[Place] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """How the runner is told."""
        visible = [place.gpu.visible for place in self.places if place.gpu is not None]
        return {VISIBLE: ",".join(visible)} if visible else {}

    @property
    def descriptors(self) -> Sequence[int]:
        """Open files that the runner must hold as well."""
        return [place.file.fileno() for place in self.places]

    def close(self) -> None:
        for place in self.places:
            place.file.close()


class Free:
    """Places that nobody has, held while a job is chosen for them."""

    def __init__(self, places: Sequence[Place], *, is_limited: bool) -> None:
        self._places = list(places)
        self._is_limited = is_limited

    @property
    def count(self) -> int:
        return len(self._places)

    def __bool__(self) -> bool:
        """Say whether a job may begin."""
        return not self._is_limited or bool(self._places)

    def keep(self, wanted: int) -> Held:
        """Give the first places to a job; as many as there are, if it wants more."""
        kept, self._places = self._places[:wanted], self._places[wanted:]
        return Held(kept)

    def close(self) -> None:
        for place in self._places:
            place.file.close()


class Slots:
    """The places of this machine."""

    def __init__(
        self, folder: Path, gpus: Sequence[Gpu], *, jobs_per_gpu: int = 1, cpu_jobs: int = 0
    ) -> None:
        """Set up places for jobs, as locks in `folder`.

        Args:
            gpus: Those that are shared out. A job gets as many different ones as it wants.
            jobs_per_gpu: How many jobs may share one.
            cpu_jobs: Where there is no GPU, how many jobs may run at the same time; 0 for any number.
        """
        self.gpus = gpus
        self.capacity = len(gpus)
        self._folder = folder
        self._jobs_per_gpu = jobs_per_gpu
        self._cpu_jobs = cpu_jobs

    @property
    def most_jobs(self) -> int:
        """How many jobs may run here at once; 0 for any number."""
        return self.capacity * self._jobs_per_gpu if self.gpus else self._cpu_jobs

    @contextmanager
    def choosing(self) -> Generator[Free]:
        """Hold what is free for the block. One worker of the machine does so at a time.

        If another one does not come to an end, nothing is free.
        """
        if not self.most_jobs:
            yield Free((), is_limited=False)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        turn = self._wait_for_turn()
        free = Free(self._free() if turn is not None else (), is_limited=True)
        try:
            yield free
        finally:
            free.close()
            if turn is not None:
                turn.close()

    def _wait_for_turn(self) -> IO[str] | None:
        until = time.monotonic() + _PATIENCE
        while (turn := self._lock(f"turn-{socket.gethostname()}")) is None and time.monotonic() < until:
            time.sleep(_PAUSE)
        return turn

    def _free(self) -> Sequence[Place]:
        """Lock one free place of each GPU that has any; of the one with most of them first."""
        if not self.gpus:
            host = socket.gethostname()
            for number in range(self._cpu_jobs):
                if (file := self._lock(f"cpu-{host}-{number}")) is not None:
                    return [Place(None, file)]
            return []
        found: list[tuple[int, Place]] = []
        for gpu in self.gpus:
            numbers = range(self._jobs_per_gpu)
            files = [file for n in numbers if (file := self._lock(f"gpu-{gpu.id}-{n}")) is not None]
            for file in files[1:]:
                file.close()
            if files:
                found.append((len(files), Place(gpu, files[0])))
        found.sort(key=lambda pair: -pair[0])
        return [place for _, place in found]

    def _lock(self, name: str) -> IO[str] | None:
        file = (self._folder / f"{name}.lock").open("a")
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        file.close()
        return None
