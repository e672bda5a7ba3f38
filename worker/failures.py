"""How a runner ends: from exceptions to exit codes, and from those to what users are told."""

import errno
import signal
from enum import IntEnum
from typing import Final

from sqlalchemy.exc import OperationalError

from app.errors import InsufficientStorageError
from app.jobs.errors import LeaseLostError
from app.jobs.leases import Failure
from app.storage import StoreUnavailableError
from mixsd.errors import DiskFullError, MixsdError, OutOfMemoryError, ProcessLostError


class Exit(IntEnum):
    """Exit codes of a runner."""

    PUBLISHED = 0
    DEFECT = 70
    IO_ERROR = 74
    LEASE_LOST = 75
    CANCELLED = 76
    OUT_OF_MEMORY = 77
    DISK_FULL = 78
    PERMANENT = 79
    """The job cannot succeed. The runner itself has stored why."""
    HANDED_BACK = 80
    PROCESS_LOST = 81
    STORE_AWAY = 82


OUT_OF_MEMORY: Final = Failure(
    OutOfMemoryError.category,
    OutOfMemoryError.code,
    "the device ran out of memory even with batches of one: choose a smaller model or shorter texts",
    OutOfMemoryError.retryable,
)
WORKER_LOST: Final = Failure("system", "worker_lost", "the worker was lost", retryable=True)
STALLED: Final = Failure("system", "stalled", "the job made no progress and was stopped", retryable=True)

HOST_OOM: Final = Failure(
    "capacity",
    "host_oom",
    "the machine ran out of memory and its kernel ended the job: choose a smaller model or a larger machine",
    retryable=True,
)

KILLED: Final = {-signal.SIGKILL, 128 + signal.SIGKILL}
_SEGFAULT: Final = {-signal.SIGSEGV, 128 + signal.SIGSEGV}


def exit_of(error: BaseException) -> Exit:
    """Say how an attempt ends that raised `error`. What is not known is a defect."""
    match error:
        case LeaseLostError():
            return Exit.LEASE_LOST
        case _ if is_out_of_memory(error):
            return Exit.OUT_OF_MEMORY
        case _ if _is_disk_full(error) or isinstance(error, StoreUnavailableError):
            return Exit.DISK_FULL if _is_disk_full(error) else Exit.STORE_AWAY
        case MixsdError():
            return Exit.PROCESS_LOST if isinstance(error, ProcessLostError) else Exit.PERMANENT
        case OSError(errno=errno.EIO | errno.EROFS):
            return Exit.IO_ERROR
        case _:
            return Exit.DEFECT


def failure_of(error: MixsdError) -> Failure:
    """Say what a user is told about an error that the library expects."""
    return Failure(error.category, error.code, str(error), error.retryable)


def failure_from(code: int) -> Failure:
    """Say what a user is told about a runner that died with `code`.

    Its output stays in the log: it may hold paths and secrets.
    """
    if code in KILLED:
        return Failure("system", "worker_lost", "the worker's process was killed", retryable=True)
    if code in _SEGFAULT:
        return Failure("system", "segfault", "the worker's process crashed", retryable=True)
    match code:
        case Exit.DEFECT:
            return Failure("system", "internal", "unexpected error", retryable=True)
        case Exit.IO_ERROR:
            return Failure("system", "io_error", "the worker's disk failed", retryable=True)
        case Exit.PROCESS_LOST:
            message = "one of the processes that trained together was lost"
            return Failure("system", ProcessLostError.code, message, retryable=True)
        case _:
            return Failure("system", "runner_exited", f"the worker ended with code {code}", retryable=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Know torch's error by its name: nobody here imports torch."""
    if isinstance(error, OutOfMemoryError | MemoryError):
        return True
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    allocator = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return ("torch", "OutOfMemoryError") in names or allocator


def _is_disk_full(error: BaseException) -> bool:
    match error:
        case DiskFullError() | InsufficientStorageError() | OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return True
        case OperationalError():  # SQLite on the same disk
            return "disk is full" in str(error.orig)
        case _:
            return False
