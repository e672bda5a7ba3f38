"""The pipeline without a model, in a process that dies, hangs or freezes as the job's labels say.

What happens once happens in the first attempt alone: a marker in the job's folder says that it has.
"""

import errno
import os
import random
import signal
import time
from typing import Any, NoReturn, cast

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore, StoredBlob
from tests.worker import fake_pipeline
from worker.control import Control


def run(control: Control, settings: Settings, store: ArtifactStore) -> None:
    does = control.job().labels.get("does", "")
    _die(control, does)
    if does == "meet conflicts":
        conflicts(control._database.engine, seed=control.attempt)  # noqa: SLF001
    if does == "die after the last checkpoint":
        control = cast(Control, _DiesAfterTheLastCheckpoint(control))
    if does == "freeze before it publishes":
        store = cast(ArtifactStore, _FreezesAfterTheWeights(control, store))
    fake_pipeline.run(control, settings, store)
    if does == "linger":
        time.sleep(3)
        (control.folder / "left-in-peace").touch()


def _die(control: Control, does: str) -> None:
    match does:
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(1)
        case "spin":
            while True:
                pass
        case "fail to read":
            raise OSError(errno.EIO, "the disk does not answer")
        case "eat memory" if _once(control):
            _eat()
        case _:  # the others are those of the pipeline without a model
            pass


def conflicts(engine: Engine, *, seed: int, share: float = 0.02) -> None:
    """Have a share of all statements fail as if other transactions were in the way."""
    rng = random.Random(seed)  # noqa: S311  not a secret
    kinds = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)

    @event.listens_for(engine, "before_cursor_execute")
    def _fail(_: Any, __: Any, statement: str, *___: Any) -> None:
        if rng.random() < share:
            raise OperationalError(statement, {}, rng.choice(kinds)("in the way"))


def _once(control: Control) -> bool:
    marker = control.folder / "misbehaved"
    if marker.exists():
        return False
    marker.touch()
    return True


def _eat() -> NoReturn:
    eaten = []
    while True:
        eaten.append(b"\x01" * 10_000_000)


class _DiesAfterTheLastCheckpoint:
    def __init__(self, control: Control) -> None:
        self._control = control

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)

    def register_checkpoint(self, phase: Phase, step: int, *rest: Any) -> list[str]:
        dropped = self._control.register_checkpoint(phase, step, *rest)
        if step == fake_pipeline.STEPS and _once(self._control):
            os.kill(os.getpid(), signal.SIGKILL)
        return dropped


class _FreezesAfterTheWeights:
    """A store after whose last file the process stops: all is there, and nothing of it is told yet."""

    def __init__(self, control: Control, store: ArtifactStore) -> None:
        self._control = control
        self._store = store

    def put_bytes(self, data: bytes) -> StoredBlob:
        stored = self._store.put_bytes(data)
        if not data.startswith(b"result of") and _once(self._control):
            os.kill(os.getpid(), signal.SIGSTOP)
        return stored
