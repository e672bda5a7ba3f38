"""A runner as its supervisor sees it: a process in a session of its own, with a log."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

from app.jobs.leases import Claim
from app.settings import Settings

LOG: Final = "log.txt"
LOG_BYTES: Final = 1_000_000
"""Size at which a log becomes `log.old.txt`, in place of the one before."""

_PASSED_ON: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
        *("MIXSD_TESTING", "MIXSD_PIPELINE", "MIXSD_CRASH_AT"),
    }
)
_PASSED_ON_PREFIXES: Final = (
    *("LC_", "XDG_", "SSL_CERT_", "PYTHON", "PYTORCH_", "TORCH", "HF_", "TRANSFORMERS_"),
    *("CUDA_", "NVIDIA_", "ROCR_", "HIP_", "OMP_", "GOMP_", "KMP_", "MKL_"),
)


_SHORT_WAIT: Final = {
    # Threads that wait for work in a loop for long take the cores from everything else on the
    # machine, and from the threads they wait for. Threads that never do are woken hundreds of
    # times in a pass, each time at some cost. So they wait for some microseconds.
    "GOMP_SPINCOUNT": "3000",
}


def environment_for(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a runner: these very settings, and nothing that it does not need.

    So the password of the broker and whatever else the service was started with stay out.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    own = {
        f"MIXSD_{name.upper()}": _written(value)
        for name, value in settings.model_dump(exclude={"redis_url", "inference_token"}).items()
        if value is not None
    }
    return ({} if "OMP_WAIT_POLICY" in kept else _SHORT_WAIT) | kept | own


def _written(value: object) -> str:
    match value:
        case timedelta():
            return str(value.total_seconds())
        case Path():
            return str(value.absolute())
        case tuple():
            return json.dumps(value)
        case _:
            return str(value)


class Child:
    """A running runner."""

    def __init__(self, claim: Claim, settings: Settings, environ: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "worker.runner", "--job", claim.job_id]
        command += ["--fence", str(claim.fence), "--attempt", str(claim.attempt)]
        command += ["--parent", str(os.getpid())]
        log = settings.work_dir / claim.job_id / LOG
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_for(settings, environ),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._writer = threading.Thread(
            target=_copy, args=(self._process.stdout, log), name=f"log-{self.pid}", daemon=True
        )
        self._writer.start()

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, negative for a signal; None if it still runs after `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode

    def terminate(self) -> None:
        """Ask it to stop at its next safe point."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, with all that it started. From any thread."""
        with self._lock, suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave no process behind, however the supervisor fared."""
        self.kill()
        self._process.wait()
        with suppress(ProcessLookupError, PermissionError):  # what the runner itself has left behind
            os.killpg(self.pid, signal.SIGKILL)
        self._writer.join(timeout=5)


def _copy(source: IO[bytes], log: Path) -> None:
    """Append what the runner prints. A log that cannot be written must not block the runner."""
    with source:
        for line in source:
            with suppress(OSError):
                if log.exists() and log.stat().st_size > LOG_BYTES:
                    log.replace(log.with_name("log.old.txt"))
                with log.open("ab") as file:
                    file.write(line[:LOG_BYTES])
