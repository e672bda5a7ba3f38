"""Which checkpoints of a run there are, and when the next one is due."""

import time
from collections.abc import Sequence
from typing import Final

_LAST: Final = 2
"""Checkpoints that are kept beside the best one: the newest, and one to fall back on."""


class Kept:
    """The last checkpoints of a run.

    Attributes:
        steps: Of those that are kept, the newest last.
        due: Whether one is wanted now, whatever the time.
    """

    def __init__(self, steps: Sequence[int] = ()) -> None:
        self.steps = list(steps)
        self.due = False
        self._at = time.monotonic()

    @property
    def newest(self) -> int:
        """The last step that was saved, 0 if none was."""
        return self.steps[-1] if self.steps else 0

    def is_due(self, seconds: float) -> bool:
        """Say whether to save, if that is to be done every so often."""
        return self.due or time.monotonic() - self._at >= seconds

    def add(self, step: int) -> None:
        """Note that a step was saved."""
        self.steps = [*self.steps, step][-_LAST:]
        self.due = False
        self._at = time.monotonic()
