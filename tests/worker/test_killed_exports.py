"""Exports whose processes are killed or frozen on the way, and those that lose the job to somebody else."""

import os
import signal
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from peft import PeftModel
from sqlalchemy import select

from app.adapters.models import Adapter
from app.exports.models import Export, ExportFile, ExportStatus
from app.ids import JobId
from app.jobs import leases
from app.jobs.errors import LeaseLostError
from app.jobs.states import JobStatus
from app.settings import Settings
from app.storage import LocalStore, StoredBlob
from mixsd.durable import sha256_of_file
from mixsd.exports import making
from mixsd.exports.making import Job as Wanted
from mixsd.models.load import Base
from tests.worker.exported import a_taught_adapter, asked_for, export_settings, fetched
from tests.worker.rig import Rig, is_alive, kill_group
from tests.worker.tiny_jobs import claimed
from worker.child import environment_for
from worker.control import Control
from worker.exporting import run_export
from worker.failures import WORKER_LOST
from worker.publication import ExportPublication
from worker.supervisor import Supervisor

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


class ExportRig(Rig):
    """A rig whose runners do the real work."""

    pipeline = "worker.pipeline:run_pipeline"

    def supervisor(
        self, *, crash_at: Sequence[str] = (), stop: Callable[[], bool] = lambda: False
    ) -> Supervisor:
        environ = {**os.environ, **self.testing(), "MIXSD_CRASH_AT": ",".join(crash_at)}
        return Supervisor(self.database, self.settings, stop=stop, environ=environ)

    def environment(self) -> dict[str, str]:
        return environment_for(self.settings, {**os.environ, **self.testing()})

    def testing(self) -> dict[str, str]:
        return {"MIXSD_TESTING": "1", "MIXSD_PIPELINE": self.pipeline}

    def check_nothing(self, job_id: JobId) -> None:
        """There is no export, nor a part of one."""
        assert self.rows(Export, job_id) == []
        with self.database.read() as session:
            assert session.scalars(select(ExportFile)).all() == []
        assert "adapter.exported" not in self.events(job_id)

    def check_export(self, job_id: JobId, folder: Path) -> None:
        """There is one, whole."""
        (export,) = self.rows(Export, job_id)
        assert (export.status, export.parity["status"]) == (ExportStatus.READY, "passed")
        assert self.events(job_id).count("adapter.exported") == 1
        with self.database.read() as session:
            files = {file.path: file.sha256 for file in session.scalars(select(ExportFile))}
        assert "model.safetensors" in files
        found = fetched(self, export, folder)
        assert {path.name: sha256_of_file(path) for path in found.iterdir()} == files

    def lose(self, control: Control) -> None:
        """Let the job go to whoever claims it next."""
        with self.database.begin() as session:
            now = self.database.now(session)
            leases.crash(session, control.job_id, control.fence, WORKER_LOST, now=now, backoff=timedelta(0))


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return export_settings(settings, tmp_path)


@pytest.fixture
def rig(rig: Rig) -> ExportRig:
    """The rig of others, with another pipeline: what is left behind is looked at by theirs."""
    return ExportRig(rig.database, rig.settings)


@pytest.fixture
def taught(rig: ExportRig) -> Adapter:
    return a_taught_adapter(rig)


@pytest.mark.slow
@pytest.mark.parametrize(
    "crashes",
    [["packaging.progress", "evaluating.progress"], ["packaging.after_file", "packaging.before_commit"]],
)
def test_an_export_whose_runner_is_killed_is_not_there_until_another_attempt_has_ended(
    rig: ExportRig, taught: Adapter, tmp_path: Path, crashes: list[str]
) -> None:
    job_id = asked_for(rig, taught)

    for number, crash in enumerate(crashes, 1):
        rig.until(lambda: rig.supervisor(crash_at=crashes).run_one("gpu"))
        assert (rig.folder(job_id) / f"crashed-{crash}").exists()
        assert (rig.job(job_id).status, rig.job(job_id).attempt) == (JobStatus.QUEUED, number)
        rig.check_nothing(job_id)
    rig.until(lambda: rig.supervisor(crash_at=crashes).run_one("gpu"))

    assert (rig.job(job_id).status, rig.job(job_id).attempt) == (JobStatus.SUCCEEDED, len(crashes) + 1)
    assert rig.events(job_id).count("job.attempt_lost") == len(crashes)
    rig.check_export(job_id, tmp_path / "export")
    last = rig.folder(job_id) / f"fence-{rig.job(job_id).fence}"
    assert list(rig.folder(job_id).glob("fence-*")) == [last], "of those that were killed nothing is kept"


@pytest.mark.slow
def test_a_frozen_runner_that_wakes_up_does_not_publish_what_it_has_written(
    rig: ExportRig, taught: Adapter, tmp_path: Path
) -> None:
    rig.pipeline = "tests.worker.freezing_export:run"
    job_id = asked_for(rig, taught)

    with rig.sweeping(), rig.worker() as first:
        zombie = rig.until_runner(first.pid)
        rig.until(lambda: is_frozen(zombie))
        rig.check_nothing(job_id)
        kill_group(first.pid, signal.SIGSTOP)
        rig.expire(job_id)
        with rig.working():
            rig.until_status(job_id, JobStatus.SUCCEEDED)
        (export,) = rig.rows(Export, job_id)
        os.killpg(zombie, signal.SIGCONT)
        rig.until(lambda: not is_alive(zombie))

    assert rig.job(job_id).attempt == 2
    assert [row.id for row in rig.rows(Export, job_id)] == [export.id]
    rig.check_export(job_id, tmp_path / "export")


def is_frozen(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("when", ["while it writes", "between two files", "before it publishes"])
def test_whoever_has_lost_the_job_publishes_nothing_and_another_one_does(
    rig: ExportRig, taught: Adapter, tmp_path: Path, when: str
) -> None:
    job_id = asked_for(rig, taught)

    class Loses(Control):
        def publish_export(self, export: ExportPublication) -> None:
            if when == "before it publishes":
                rig.lose(self)
            super().publish_export(export)

    first = claimed(rig, job_id, Loses)

    class LosesBetween(LocalStore):
        def put(self, path: Path) -> StoredBlob:
            if when == "between two files" and path.name == "model.safetensors":
                rig.lose(first)
            return super().put(path)

    def write(base: Base, model: PeftModel, job: Wanted, target: Path) -> None:
        if when == "while it writes":
            rig.lose(first)
        making.write(base, model, job, target)

    with pytest.raises(LeaseLostError):
        run_export(first, rig.settings, LosesBetween(rig.settings.artifact_dir), first.job(), write=write)
    rig.check_nothing(job_id)
    second = claimed(rig, job_id)
    run_export(second, rig.settings, LocalStore(rig.settings.artifact_dir), second.job())

    assert rig.job(job_id).attempt == 2
    rig.check_export(job_id, tmp_path / "export")


def test_one_that_comes_late_leaves_the_files_of_the_next_alone(rig: ExportRig, taught: Adapter) -> None:
    job_id = asked_for(rig, taught)
    late = claimed(rig, job_id)
    rig.lose(late)
    following = claimed(rig, job_id)
    kept = following.folder / f"fence-{following.fence}" / "export" / "model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()

    with pytest.raises(LeaseLostError):
        run_export(late, rig.settings, LocalStore(rig.settings.artifact_dir), late.job())

    assert kept.exists()
    rig.check_nothing(job_id)
