"""From exceptions and exit codes to what users are told."""

import errno
import signal

import pytest
from sqlalchemy.exc import OperationalError

from app.ids import JobId
from app.jobs.errors import LeaseLostError
from app.storage import StorageFullError, StoreMisconfiguredError, StoreUnavailableError
from mixsd.errors import DiskFullError, DivergedError, OutOfMemoryError, ProcessLostError
from worker.failures import Exit, exit_of, failure_from, failure_of

# As torch defines it: a class of this name in a module of that package.
TorchOutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LeaseLostError(JobId("job_1"), 1), Exit.LEASE_LOST),
        (TorchOutOfMemoryError("CUDA out of memory"), Exit.OUT_OF_MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), Exit.OUT_OF_MEMORY),
        (OutOfMemoryError("too big"), Exit.OUT_OF_MEMORY),
        (MemoryError(), Exit.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Exit.DISK_FULL),
        (DiskFullError("full"), Exit.DISK_FULL),
        (StorageFullError(3), Exit.DISK_FULL),
        (StoreUnavailableError("S3 does not answer"), Exit.STORE_AWAY),
        (StoreMisconfiguredError("there is no such bucket"), Exit.STORE_AWAY),
        (OperationalError("INSERT", {}, Exception("database or disk is full")), Exit.DISK_FULL),
        (OperationalError("INSERT", {}, Exception("database is locked")), Exit.DEFECT),
        (OSError(errno.EIO, "Input/output error"), Exit.IO_ERROR),
        (OSError(errno.EROFS, "Read-only file system"), Exit.IO_ERROR),
        (DivergedError("the loss is not finite"), Exit.PERMANENT),
        (ProcessLostError("process 1 of 2 was ended by SIGKILL"), Exit.PROCESS_LOST),
        (RuntimeError("a bug"), Exit.DEFECT),
        (FileNotFoundError(errno.ENOENT, "No such file"), Exit.DEFECT),
    ],
)
def test_each_error_has_its_way_to_end(error: Exception, expected: Exit) -> None:
    assert exit_of(error) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-signal.SIGKILL, "worker_lost"),
        (137, "worker_lost"),
        (-signal.SIGSEGV, "segfault"),
        (139, "segfault"),
        (Exit.DEFECT, "internal"),
        (Exit.IO_ERROR, "io_error"),
        (Exit.PROCESS_LOST, "process_lost"),
        (0, "runner_exited"),
        (3, "runner_exited"),
    ],
)
def test_each_death_has_its_code(code: int, expected: str) -> None:
    failure = failure_from(code)

    assert (failure.category, failure.code, failure.retryable) == ("system", expected, True)


def test_errors_of_the_library_speak_for_themselves() -> None:
    failure = failure_of(DivergedError("the loss of step 3 is not finite"))

    assert (failure.category, failure.code, failure.retryable) == ("user", "training_diverged", False)
    assert failure.message == "the loss of step 3 is not finite"
