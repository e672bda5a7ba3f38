"""Run a program that a model wrote: in a process of its own, with limits of time, memory and files.

On Linux the process leaves the network and all other processes behind where the kernel allows it, and
root's rights where it has them; see `docs/benchmarks.md` for what holds where. This keeps mistakes of
a model from doing harm. It is no prison for an attacker: run what you do not trust in a container.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from mixsd.benchmarks import sandbox_child

SECONDS: Final = 10.0
MEMORY: Final = 1 << 30

_START: Final = 1.0
"""Seconds by the clock that a process may take to start, beside twice its time."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program.

    Attributes:
        passed: It ran to its end without an exception.
        error: Else why not, in one line.
        means: By what it was kept apart, beside the limits: `network namespace`, `process namespace`,
            `other user`. Empty where it did not live to tell.
    """

    passed: bool
    error: str = ""
    means: tuple[str, ...] = ()


def run_program(program: str, *, seconds: float = SECONDS, memory: int = MEMORY) -> Ran:
    """Run a program of Python to its end.

    Args:
        program: Its text. It sees the standard library and an empty folder, and cannot read stdin.
        seconds: Of processor time, rounded up. By the clock it has twice as many, and one to start.
        memory: Bytes of address space.
    """
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="mixsd-", ignore_cleanup_errors=True) as folder:
        asked = {"program": program, "word": word, "folder": folder, "seconds": seconds, "memory": memory}
        with tempfile.TemporaryFile() as answer:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", sandbox_child.__file__],
                stdin=subprocess.PIPE,
                stdout=answer,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={"HOME": folder, "TMPDIR": folder},
                start_new_session=True,
            )
            status = _wait(child, json.dumps(asked).encode(), seconds)
            answer.seek(0)
            said = answer.read(1 << 16)
    return _read(said, word, status, seconds)


def _wait(child: subprocess.Popen[bytes], asked: bytes, seconds: float) -> int | None:
    """Return how the process ended; None if it had to be ended. What it started ends with it."""
    try:
        child.communicate(asked, timeout=2 * seconds + _START)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return child.returncode


def _read(said: bytes, word: str, status: int | None, seconds: float) -> Ran:
    try:
        told = json.loads(said)
        if secrets.compare_digest(str(told["word"]), word):
            return Ran(bool(told["passed"]), str(told["error"]), tuple(told["means"]))
    except (ValueError, KeyError, TypeError):
        pass
    if status is None or status in {
        128 + signal.SIGXCPU,
        128 + signal.SIGKILL,
        -signal.SIGXCPU,
        -signal.SIGKILL,
    }:
        return Ran(passed=False, error=f"it took more than {seconds:g} seconds, or was ended")
    return Ran(passed=False, error=f"it ended with status {status} before its end")
