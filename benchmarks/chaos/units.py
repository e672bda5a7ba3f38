"""Processes that are started again when they end, as an init system would, and trees of processes."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REST: Final = 0.5
"""Seconds between the end of a process and its next start."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a runner works on, as its command line says."""

    job_id: str
    fence: int


@dataclass
class Unit:
    """A process in a session of its own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    ended_at: float = -REST
    frozen: list[int] = field(default_factory=list)
    starts: int = 0

    def keep_up(self) -> None:
        """Start it if it does not run, and has rested."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            self.process, self.ended_at = None, time.monotonic()
        if time.monotonic() - self.ended_at >= REST:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command,
                    env=dict(self.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.starts += 1

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def tree(self) -> list[int]:
        """Return its process id and those of all that it has started, parents first."""
        return [] if self.pid is None else [self.pid, *descendants(self.pid)]

    def runners(self) -> dict[int, Held]:
        """Return the runners in it, and what each works on."""
        return {pid: held for pid in self.tree() if (held := held_by(pid)) is not None}

    def thaw(self) -> None:
        for pid in self.frozen:
            send(pid, signal.SIGCONT)
        self.frozen.clear()

    def stop(self, seconds: float) -> None:
        """Ask it to end, and make it."""
        self.thaw()
        everyone = self.tree()
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        for pid in everyone:
            if self.process is None or pid != self.process.pid:
                kill_ours(pid, self.environment["MIXSD_DATA_DIR"])
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, theirs, and so on; of all its threads."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, children.read_text().split())
    return found + [each for child in found for each in descendants(child)]


def held_by(pid: int) -> Held | None:
    """Return what a process works on, if it is a runner."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return None
    if "worker.runner" not in words:
        return None
    return Held(words[words.index("--job") + 1], int(words[words.index("--fence") + 1]))


def kill_ours(pid: int, data_dir: str) -> bool:
    """Kill a process that works on our data folder; its id may have been given to another since.

    Returns whether there was one.
    """
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    if f"MIXSD_DATA_DIR={data_dir}" not in environment:
        return False
    send(pid, signal.SIGKILL)
    return True
