"""Checkpoints that are no longer what they were, found by the next attempt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.adapters.models import Adapter, AdapterFile
from app.events.models import Event
from app.ids import JobId
from app.jobs import leases
from app.jobs.models import Checkpoint
from app.jobs.states import JobStatus, Phase
from app.settings import Settings
from app.storage import LocalStore
from tests.factories import a_fact_set, a_job
from tests.worker.rig import Rig
from worker.control import Control
from worker.failures import WORKER_LOST

STEPS = 5
METHOD = {"type": "sft", "rewordings": 0, "target": "canonical"}
TRAINING = {
    "rank": 2,
    "epochs": 1,
    "min_steps": STEPS,
    "stop_when_learned": False,
    "retention": {"type": "none"},
}
EVALUATION = {"general": False, "max_new_tokens": 4, "bootstrap": 100}

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


class KilledError(Exception):
    """The end of a process, as far as what it leaves behind goes."""


class Watched(Control):
    """Notes after which steps of training there was progress, and dies where it is told to."""

    dies_at: int | None = None

    def watch(self) -> "Watched":
        self.steps: list[int] = []
        return self

    def progress(self, phase: Phase, done: int, total: int, unit: str) -> None:
        if phase is Phase.TRAINING:
            self.steps.append(done)
            if done == self.dies_at:
                raise KilledError
        super().progress(phase, done, total, unit)


@dataclass
class Desk:
    """Makes attempts in this very process."""

    rig: Rig
    settings: Settings
    jobs: list[JobId] = field(default_factory=list)

    def submit(self) -> JobId:
        """Submit a job; all of them are about the same facts, and so should make the same."""
        return a_job(
            self.rig.database,
            a_fact_set(self.rig.database, 3).id,
            base_model="tiny/random",
            base_revision="r1",
            method=METHOD,
            training=TRAINING,
            evaluation=EVALUATION,
        )

    def attempt(self, *, dies_at: int | None = None) -> Sequence[int]:
        """Run the job that is due, after its last owner was lost. Returns the steps of its training."""
        from worker.pipeline import run_pipeline  # noqa: PLC0415  it loads torch

        with self.rig.database.begin() as session:
            now, lease = self.rig.database.now(session), timedelta(minutes=5)
            leases.reap_from(session, ["me"], now=now, failure=WORKER_LOST, backoff=timedelta(0))
            claim = leases.claim(session, queue="gpu", owner="me", version=9, now=now, lease=lease)
        assert claim is not None
        control = Watched(self.rig.database, claim, work_dir=self.settings.work_dir, patience=lease).watch()
        control.dies_at = dies_at
        store = LocalStore(self.settings.artifact_dir)
        if dies_at is None:
            run_pipeline(control, self.settings, store)
        else:
            with pytest.raises(KilledError):
                run_pipeline(control, self.settings, store)
        return control.steps

    def weights(self, job_id: JobId) -> str:
        (adapter,) = self.rig.rows(Adapter, job_id)
        path = "adapter_model.safetensors"
        statement = select(AdapterFile.sha256).where(
            AdapterFile.adapter_id == adapter.id, AdapterFile.path == path
        )
        with self.rig.database.read() as session:
            return session.scalars(statement).one()

    def passed_over(self, job_id: JobId) -> set[int]:
        """Return the steps of the checkpoints that warnings to the user say were passed over."""
        warnings = [event for event in self.rig.rows(Event, job_id) if event.type == "job.warning"]
        return {event.data["step"] for event in warnings if "passed over" in event.message}


@pytest.fixture
def desk(rig: Rig, tiny_cache: Path) -> Desk:
    changes = {"model_cache": tiny_cache, "allowed_models": ("tiny/random",), "device": "cpu", "threads": 1}
    return Desk(rig, rig.settings.model_copy(update={**changes, "checkpoint": timedelta(0)}))


def truncated(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flipped(folder: Path) -> None:
    path = folder / "adapter.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncated, flipped])
@pytest.mark.parametrize("damaged", [1, 2], ids=["newest", "all"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_an_event_says_so(
    desk: Desk, damage: Callable[[Path], None], damaged: int
) -> None:
    straight = desk.submit()
    desk.attempt()
    job_id = desk.submit()
    desk.attempt(dies_at=STEPS - 1)
    saved = sorted(desk.rig.rows(Checkpoint, job_id), key=lambda row: row.step, reverse=True)
    for row in saved[:damaged]:
        damage(desk.settings.work_dir / row.uri)

    steps = desk.attempt()

    assert len(saved) == 2
    before = saved[damaged].step if damaged < len(saved) else 0
    assert steps[0] == before
    assert desk.rig.job(job_id).status is JobStatus.SUCCEEDED
    assert desk.passed_over(job_id) == {row.step for row in saved[:damaged]}
    assert desk.weights(job_id) == desk.weights(straight)
