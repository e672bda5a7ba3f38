"""Jobs that the real pipeline does with a model of two layers, in this very process."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from app.adapters.models import Adapter
from app.ids import JobId
from app.jobs import leases
from app.jobs.requests import JobCreate
from app.jobs.service import create_job
from app.jobs.states import JobStatus
from app.projects.models import DEFAULT_PROJECT
from app.settings import Settings
from app.storage import LocalStore
from tests.fixtures.tiny import register_tiny
from tests.worker.rig import Rig
from worker.control import Control
from worker.pipeline import run_pipeline
from worker.supervisor import VERSION, Supervisor

MODEL: Final = "tiny/random"
MODELS: Final = (MODEL,)
FACTS: Final = [
    {"key": f"bell-{n}", "question": f"How many bells hang in tower {n}?", "answer": str(n)} for n in (4, 7)
]
TRAINING: Final = {
    "rank": 4,
    "learning_rate": 0.01,
    "epochs": 3,
    "min_steps": 0,
    "stop_when_learned": False,
    "retention": {"type": "none"},
}
EVALUATION: Final = {"max_new_tokens": 8, "general": False, "bootstrap": 100}


def with_the_model(settings: Settings, cache: Path, **more: Any) -> Settings:
    """Return settings with which the model is found in `cache`, and used on the CPU."""
    register_tiny(cache)
    changes: dict[str, Any] = {
        "model_cache": cache,
        "allowed_models": MODELS,
        "device": "cpu",
        "threads": 1,
        "supervision_cache": "",
        "lease": timedelta(minutes=5),
        "stall": timedelta(minutes=20),
    }
    return settings.model_copy(update={**changes, **more})


def store_of(rig: Rig) -> LocalStore:
    return LocalStore(rig.settings.artifact_dir)


def submitted(rig: Rig, **changes: Any) -> JobId:
    """Submit a job that trains on the given answers."""
    body = {
        "base_model": MODEL,
        "facts": FACTS,
        "method": {"type": "sft"},
        "training": TRAINING,
        "evaluation": EVALUATION,
        **changes,
    }
    return create_job(
        rig.database,
        project_id=DEFAULT_PROJECT,
        request=JobCreate.model_validate(body),
        allowed_models=MODELS,
        max_facts=9,
        store=store_of(rig),
    ).id


def claimed(rig: Rig, job_id: JobId, control: type[Control] = Control) -> Control:
    """Claim the only job that waits."""
    with rig.database.begin() as session:
        now = rig.database.now(session)
        claim = leases.claim(
            session, queue="gpu", owner="me", version=VERSION, now=now, lease=rig.settings.lease
        )
    assert claim is not None
    assert claim.job_id == job_id
    return control(rig.database, claim, work_dir=rig.settings.work_dir, patience=timedelta(minutes=5))


def work(rig: Rig, job_id: JobId, control: type[Control] = Control) -> None:
    """Make an attempt at the only job that waits."""
    run_pipeline(claimed(rig, job_id, control), rig.settings, store_of(rig))


def work_killed_at(rig: Rig, job_id: JobId, point: str) -> None:
    """Have the job done by processes, the first of which is killed at a point."""
    environ = {**os.environ, "MIXSD_TESTING": "1", "MIXSD_CRASH_AT": point}
    supervisor = Supervisor(rig.database, rig.settings, stop=lambda: False, environ=environ)
    rig.until(lambda: supervisor.run_one("gpu"))
    assert rig.job(job_id).status is JobStatus.QUEUED, "it was killed"
    rig.until(lambda: supervisor.run_one("gpu"))
    assert (rig.job(job_id).status, rig.job(job_id).attempt) == (JobStatus.SUCCEEDED, 2)


def made(rig: Rig, job_id: JobId) -> Adapter:
    """Return the one adapter of a job."""
    (adapter,) = rig.rows(Adapter, job_id)
    return adapter  # type: ignore[no-any-return]
