"""The process of an attempt ends with its supervisor, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.worker.rig import is_alive

RUNNER = """
import sys, time
from worker.runner import die_with
die_with(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""

SUPERVISOR = """
import os, subprocess, sys, time
runner = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
print(runner.pid, runner.stdout.readline().decode().strip(), flush=True)
time.sleep(600)
"""


@contextmanager
def supervisor_with_runner() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has started another one, and that one's id."""
    command = [sys.executable, "-c", SUPERVISOR, RUNNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        runner, said = supervisor.stdout.readline().split()
        assert said == "ready"
        try:
            yield supervisor, int(runner)
        finally:
            supervisor.kill()
            with suppress(ProcessLookupError):
                os.kill(int(runner), signal.SIGKILL)


def test_a_runner_does_not_outlive_a_supervisor_that_was_killed() -> None:
    with supervisor_with_runner() as (supervisor, runner):
        assert is_alive(runner)

        supervisor.kill()

        until = time.monotonic() + 300
        while is_alive(runner) and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_alive(runner)


def test_a_runner_whose_supervisor_is_gone_already_does_not_begin() -> None:
    nobody = os.getppid()  # the parent of the one that starts it, which is another process

    done = subprocess.run([sys.executable, "-c", RUNNER, str(nobody)], check=False, capture_output=True)

    assert (done.returncode, done.stdout) == (75, b"")
