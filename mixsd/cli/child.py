"""A service of one's own: `mixsd up` as a child process, for as long as a block of code runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from mixsd.cli.client import Client
from mixsd.errors import MixsdError

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
"""Longer than the grace that `mixsd up` gives a running job."""


class ChildError(MixsdError):
    """The service did not start, or ended by itself."""

    code: ClassVar[str] = "service_ended"


class Service:
    """A running child. `check` raises if it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def check(self) -> None:
        status = self.process.poll()
        if status is not None:
            raise ChildError(
                f"the service ended with status {status}; the end of {self._log} says:\n{self._tail()}"
            )

    def wait_until_ready(self) -> None:
        """Return once the service takes jobs.

        Raises:
            ChildError: It ended, or took more than a minute.
        """
        deadline = time.monotonic() + START_SECONDS
        with Client(self.url) as client:
            while not client.is_ready():
                self.check()
                if time.monotonic() > deadline:
                    raise ChildError(f"the service is not ready after {START_SECONDS:.0f} s: see {self._log}")
                time.sleep(0.2)

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])


def up_command(port: int, data: Path) -> list[str]:
    """Return the command that serves everything on one port of this machine."""
    return [
        sys.executable,
        "-m",
        "mixsd",
        "up",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--data",
        str(data),
    ]


@contextmanager
def service(
    data: Path, port: int = 0, *, command: Callable[[int, Path], Sequence[str]] = up_command
) -> Iterator[Service]:
    """Run a service on the folder `data` and stop it at the end, however the block ends.

    It is a session of its own, so that Ctrl-C in the terminal reaches us alone and we end it in
    order. It keeps to `data`: a database that the environment names is not touched. Nothing but this
    machine reaches it, so it asks for no key.
    """
    port = port or free_port()
    log = data / "log.txt"
    environment = {**os.environ, "MIXSD_DATABASE_URL": "", "MIXSD_AUTH": "auto"}
    environment.pop("MIXSD_REDIS_URL", None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(port, data),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield Service(process, f"http://127.0.0.1:{port}", log)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], patience: float = STOP_SECONDS) -> None:
    """End a child: by asking, and by force if it does not listen."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Within the block, let SIGTERM unwind the stack as Ctrl-C does, so that children are stopped."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """Return a port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
