"""Points of series that wait to be written: they go along with whatever is written next."""

import math
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from app.clock import utc_now
from app.jobs.leases import Claim
from app.jobs.states import Phase
from app.metrics.models import JobMetric
from worker.upsert import upsert

_CHUNK: Final = 500
"""Rows of one statement: databases bound the parameters that it has."""

_CHANGES: Final = ("phase", "attempt", "value", "at")


class Points:
    """What was measured and is not written yet. Of two measurements of a step the later one stays."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._rows: dict[tuple[str, int, int], dict[str, Any]] = {}

    def add(self, phase: Phase, variant: int, step: int, values: Mapping[str, float]) -> None:
        """Note values by name. One that is not finite is no point of a series."""
        at = utc_now()
        for name, value in values.items():
            if math.isfinite(value):
                self._rows[name, variant, step] = {
                    "job_id": self._claim.job_id,
                    "name": name,
                    "variant": variant,
                    "step": step,
                    "phase": str(phase),
                    "attempt": self._claim.attempt,
                    "value": float(value),
                    "at": at,
                }

    def store(self, session: Session) -> None:
        """Write them, over what earlier attempts wrote. They stay here until `clear`: it may fail."""
        rows = list(self._rows.values())
        for start in range(0, len(rows), _CHUNK):
            upsert(session, JobMetric, rows[start : start + _CHUNK], update=_CHANGES)

    def clear(self) -> None:
        self._rows.clear()
