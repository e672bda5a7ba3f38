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

_ENTERING: Final = 2.0
_STEP: Final = 0.3


class _Slow:
    """A control whose `enter` and `progress` take their time."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._phases = control.job().labels.get(SLOW_IN, "").split(",")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)

    def enter(self, phase: Phase, *arguments: Any, **options: Any) -> None:
        self._control.enter(phase, *arguments, **options)
        if phase in self._phases:
            time.sleep(_ENTERING)

    def progress(self, phase: Phase, done: int, total: int, unit: str) -> None:
        if phase in self._phases:
            time.sleep(_STEP)
        self._control.progress(phase, done, total, unit)


def run(control: Control, settings: Settings, store: ArtifactStore) -> None:
    run_pipeline(cast(Control, _Slow(control)), settings, store)
