"""The process of one attempt: `python -m worker.runner`. Only here, late, is torch loaded.

A supervisor starts it with the claim that it holds. Nothing outlives this process, so device
memory, leaks and crashes end with it; its exit code (`worker.failures.Exit`) says how it went.
"""

import argparse
import ctypes
import importlib
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeAlias

from app import tables  # noqa: F401  foreign keys resolve only once every table is known
from app.db.engine import Database, make_engine
from app.ids import JobId
from app.jobs import leases
from app.jobs.leases import Claim
from app.jobs.states import JobStatus
from app.log import configure
from app.settings import Settings
from app.storage import ArtifactStore
from app.stores import store_for
from mixsd.errors import MixsdError
from worker.control import Control, StopRequested
from worker.failures import Exit, exit_of, failure_of
from worker.transactions import write

Pipeline: TypeAlias = Callable[[Control, Settings, ArtifactStore], None]

PIPELINE: Final = "worker.pipeline:run_pipeline"

log = logging.getLogger(__name__)

_OPEN_FILES: Final = 4096
_SACRIFICED_FIRST: Final = "900"
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> Exit:
    """Make the attempt. Returns how it ended."""
    options = _parse(arguments)
    die_with(options.parent)
    _limit()
    testing = environ.get("MIXSD_TESTING") == "1"
    settings = Settings()
    configure(json=settings.log_json, job_id=options.job, attempt=options.attempt)
    engine = make_engine(settings.database)
    try:
        return attempt(
            Database(engine),
            Claim(JobId(options.job), options.fence, options.attempt),
            settings,
            pipeline=environ.get("MIXSD_PIPELINE", PIPELINE) if testing else PIPELINE,
            crash_at=environ.get("MIXSD_CRASH_AT", "").split(",") if testing else (),
        )
    finally:
        engine.dispose()


def attempt(
    database: Database, claim: Claim, settings: Settings, *, pipeline: str, crash_at: Collection[str] = ()
) -> Exit:
    """Run the pipeline, named `module:function`, for a claim that somebody else keeps alive."""
    try:
        control = Control(
            database, claim, work_dir=settings.work_dir, patience=settings.lease, crash_at=crash_at
        )
        control.folder.mkdir(parents=True, exist_ok=True)
        control.safe_point()
        # Until it is loaded, which takes seconds, there is nothing to save: SIGTERM simply ends the process.
        run = load(pipeline)
        signal.signal(signal.SIGTERM, lambda *_: control.request_stop())
        with closing(store_for(settings)) as store:
            run(control, settings, store)
    except StopRequested as stop:
        return Exit.CANCELLED if stop.status is JobStatus.CANCELLING else Exit.HANDED_BACK
    except MixsdError as error:
        log.exception("the attempt failed")
        code = exit_of(error)
        return _fail(database, claim, error, settings) if code is Exit.PERMANENT else code
    except Exception as error:
        log.exception("the attempt failed")
        return exit_of(error)
    if not control.published:
        log.error("the pipeline ended without publishing anything")
        return Exit.DEFECT
    return Exit.PUBLISHED


def load(pipeline: str) -> Pipeline:
    module, _, function = pipeline.partition(":")
    found: Pipeline = getattr(importlib.import_module(module), function)
    return found


def _fail(database: Database, claim: Claim, error: MixsdError, settings: Settings) -> Exit:
    failure = failure_of(error)
    ended = write(
        database,
        lambda session: leases.fail(session, claim.job_id, claim.fence, failure, now=database.now(session)),
        patience=settings.lease,
    )
    return Exit.LEASE_LOST if ended is None else Exit.PERMANENT


def die_with(parent: int) -> None:
    """Be killed when the supervisor dies: no attempt goes on without someone who holds its lease.

    On Linux the kernel sees to it, elsewhere a thread that looks every second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it died before we asked
        os._exit(Exit.LEASE_LOST)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(Exit.LEASE_LOST)


def _limit() -> None:
    """Leave no core dump (it would hold facts), bound open files, go first when memory is short."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_SACRIFICED_FIRST)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker.runner", description=__doc__)
    parser.add_argument("--job", required=True)
    for number in ("--fence", "--attempt", "--parent"):
        parser.add_argument(number, type=int, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    _code = main(sys.argv[1:], os.environ)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)  # not sys.exit: threads of libraries must not keep a finished attempt alive
