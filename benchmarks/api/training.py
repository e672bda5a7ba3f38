"""How long polls take while a job trains on the same machine."""

import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.api.load import Asked, latencies
from tests.e2e.service import TRAINING, Service, serving
from tests.fixtures.tiny import register_tiny
from worker.runner import PIPELINE

CONNECTIONS: Final = 4
_FOR_EVER: Final = 1_000_000
"""Steps: more than are made while it is looked on."""


def polling(seconds: float) -> dict[str, Any]:
    """Measure it on a service of its own, `mixsd up` on SQLite, with a tiny model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        register_tiny(folder / "models")
        environment = {
            "MIXSD_DATA_DIR": name,
            "MIXSD_MODEL_CACHE": str(folder / "models"),
            "MIXSD_PIPELINE": PIPELINE,
            "MIXSD_CHECKPOINT": "60",
            "MIXSD_RATE_LIMIT": "0",
        }
        with serving("up", environment, folder) as (service, _):
            return polling_on(service, seconds)


def polling_on(service: Service, seconds: float) -> dict[str, Any]:
    """Have a service train a job, poll that, and cancel it."""
    job_id = service.submit(training={**TRAINING, "min_steps": _FOR_EVER}, priority=10)
    service.until_in(job_id, "training")
    try:
        asked = Asked(service.url, f"/jobs/{job_id}")
        taken = latencies(asked, connections=CONNECTIONS, seconds=seconds)
        if service.read(f"/jobs/{job_id}")["phase"] != "training":
            raise RuntimeError("the job did not train all the while")
    finally:
        service.call("POST", f"/jobs/{job_id}/cancel", status=202)
    service.ended(job_id)
    return {
        "polling_p50_ms": round(statistics.median(taken) * 1000, 1),
        "polling_p99_ms": round(statistics.quantiles(taken, n=100)[98] * 1000, 1),
        "polling_per_s": round(len(taken) / seconds, 1),
    }
