"""A worker on a machine whose clock is two hours ahead: `python -m tests.faults.skewed`."""

import runpy
import time
from datetime import UTC, datetime, timedelta

from app import clock

_AHEAD = timedelta(hours=2)
_really = time.time


def _skewed() -> float:
    return _really() + _AHEAD.total_seconds()


def _utc_now() -> datetime:
    return datetime.now(UTC) + _AHEAD


if __name__ == "__main__":  # before anything else has been imported
    time.time = _skewed
    clock.utc_now = _utc_now
    runpy.run_module("tests.worker.loop", run_name="__main__")
