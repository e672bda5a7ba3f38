"""Starts the inference process of this machine on first use, and again when it has ended. No torch here."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import structlog

from app.inference.port import Address
from app.inference.token import shared_token
from app.settings import Settings
from worker.child import environment_for

log = structlog.get_logger(__name__)

LOG: Final = "inference.log"
LOG_BYTES: Final = 1_000_000
"""Size at which a log makes room for a new one, beside which it stays until the next time."""
_PATIENCE: Final = 10.0
"""Seconds in which it ends once its input does."""
_CONNECT: Final = 1.0


class Keeper:
    """Knows where adapters are asked. See `app.inference.port.Inference`.

    The process listens on a free port of the loopback interface, and ends when this one does.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs; None if there is none."""
        with self._lock:
            running = self._process is not None and self._process.poll() is None
            return self._process.pid if running and self._process else None

    def address(self) -> Address:
        """Return where the process listens, which it may be about to. Starts it if it does not run."""
        token = self._settings.inference_token or shared_token(self._settings.data_dir)
        with self._lock:
            if not self._is_there():
                self._start()
            return Address(f"http://127.0.0.1:{self._port}", token)

    def stop(self) -> None:
        """End the process; it is not started again by itself."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _is_there(self) -> bool:
        """Say whether the process takes requests. One that is about to end does not, and is waited for."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), _CONNECT):
            return True
        _end(process)
        return False

    def _start(self) -> None:
        if self._process is not None:
            _end(self._process)
            log.info("inference.ended", pid=self._process.pid, status=self._process.returncode)
        # A new socket each time: one that a dead process held would keep callers waiting in it.
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, self._log() as output:
            environment = environment_for(self._settings, self._environ)
            environment["MIXSD_INFERENCE_TOKEN"] = self._settings.inference_token
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.inference", "--socket", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
            self._port = int(listener.getsockname()[1])
        log.info("inference.started", pid=self._process.pid)

    def _log(self) -> IO[bytes]:
        path: Path = self._settings.data_dir / LOG
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name("inference.old.log"))
        return path.open("ab")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the input of a process, at which it ends; by force if it does not."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
