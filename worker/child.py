"""A runner as its supervisor sees it: a process in a session of its own, with a log."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

from app.jobs.leases import Claim
from app.settings import Settings
from worker.joblog import JobLog

_NOT_FOR_RUNNERS: Final = {"redis_url", "otlp_endpoint", "inference_token"}

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

_FOR_S3: Final = "AWS_"
"""Where boto3 finds credentials, among others in `HOME`."""

_SHORT_WAIT: Final = {
    # Threads that wait for work in a loop for long take the cores from everything else on the
    # machine, and from the threads they wait for. Threads that never do are woken hundreds of
    # times in a pass, each time at some cost. So they wait for some microseconds.
    "GOMP_SPINCOUNT": "3000",
}


def environment_for(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a runner: these very settings, and nothing that it does not need.

    So the password of the broker and whatever else the service was started with stay out. Credentials
    for S3 go along where adapters lie there.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    if settings.artifacts:
        kept |= {name: value for name, value in environ.items() if name.startswith(_FOR_S3)}
    own = {
        f"MIXSD_{name.upper()}": _written(value)
        for name, value in settings.model_dump(exclude=_NOT_FOR_RUNNERS).items()
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

    def __init__(
        self, claim: Claim, settings: Settings, environ: Mapping[str, str], *, keep_open: Sequence[int] = ()
    ) -> None:
        """Start it. `keep_open` are descriptors of files that it holds open as long as it lives."""
        command = [sys.executable, "-m", "worker.runner", "--job", claim.job_id]
        command += ["--fence", str(claim.fence), "--attempt", str(claim.attempt)]
        command += ["--parent", str(os.getpid())]
        folder = settings.work_dir / claim.job_id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_for(settings, environ),
            pass_fds=keep_open,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._writer = threading.Thread(
            target=_copy,
            args=(self._process.stdout, folder, claim.attempt),
            name=f"log-{self.pid}",
            daemon=True,
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


def _copy(source: IO[bytes], folder: Path, attempt: int) -> None:
    """Keep what the runner prints."""
    log = JobLog(folder, attempt)
    with source:
        for line in source:
            log.write(line)
