"""The real pipeline on a slow machine: it dawdles in the phases that the job's metadata name.

So a test can reach a job in a phase that the tiny model would be through in milliseconds. Only
what the pipeline calls is slow; where it stops is its own affair.
"""

import time
from typing import Any, Final, cast

from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore
from worker.control import Control
from worker.pipeline import run_pipeline

SLOW_IN: Final = "slow-in"
"""Name of the metadata that holds the phases, separated by commas."""

HOLDS_AT: Final = "holds-at"
"""Name of the metadata with moments, separated by commas, at each of which the job waits once until its
process is told to stop, or is killed: `training:3@1` is after three steps of its first attempt or later
in that phase. So a test reaches it there, however slow the test itself is. What is asked of the job before
its progress tells that it has come so far would find it elsewhere, and it would wait there later."""

_ENTERING: Final = 2.0
_STEP: Final = 0.3
_LOOK: Final = 0.1


class _Slow:
    """A control whose `enter` and `progress` take their time."""

    def __init__(self, control: Control) -> None:
        self._control = control
        labels = control.job().labels
        self._phases = labels.get(SLOW_IN, "").split(",")
        self._holds = [hold for hold in labels.get(HOLDS_AT, "").split(",") if hold]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)

    def enter(self, phase: Phase, *arguments: Any, **options: Any) -> None:
        self._control.enter(phase, *arguments, **options)
        if phase in self._phases:
            time.sleep(_ENTERING)

    def progress(self, phase: Phase, done: int, total: int, unit: str) -> None:
        if phase in self._phases:
            time.sleep(_STEP)
        held = self._is_held(phase, done)
        self._control.progress(phase, done, total, unit)
        while held:
            time.sleep(_LOOK)
            self._control.progress(phase, done, total, unit)

    def _is_held(self, phase: Phase, done: int) -> bool:
        for hold in self._holds:
            moment, _, attempt = hold.partition("@")
            where, _, after = moment.partition(":")
            if (where, int(attempt)) != (phase, self._control.attempt) or done < int(after):
                continue
            marker = self._control.folder / f"held-{moment}-{attempt}".replace(":", "-")
            if not marker.exists():
                marker.touch()
                return True
        return False


def run(control: Control, settings: Settings, store: ArtifactStore) -> None:
    run_pipeline(cast(Control, _Slow(control)), settings, store)
