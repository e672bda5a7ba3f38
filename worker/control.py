"""What a running pipeline may do to its job. Everything goes through the fence."""

import os
import signal
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.base import JsonObject
from app.db.engine import Database
from app.events.models import Event, Level
from app.events.repository import NewEvent
from app.ids import AdapterId, ExportId, new_id
from app.jobs import leases
from app.jobs.leases import Claim
from app.jobs.models import Job, Supervision
from app.jobs.states import JobStatus, Phase
from app.metrics import repository as series
from worker import checkpoints, phases
from worker.ending import Ending, end_job
from worker.phases import Pace
from worker.points import Points
from worker.publication import (
    ExportPublication,
    Measurement,
    Publication,
    insert_export,
    insert_measurement,
    insert_publication,
    story_of,
    story_of_export,
    story_of_measurement,
)
from worker.reading import JobReader, SupervisionRow
from worker.stopping import StopRequested as StopRequested  # noqa: PLC0414  whoever holds a control needs it
from worker.transactions import write
from worker.upsert import upsert

CHUNK: Final = 64
"""Most rows of supervision in one transaction: a longer one would hold up heartbeats."""

_SECOND: Final = 1.0


class Control(JobReader):
    """Hands of a pipeline, bound to one claim.

    Every write holds the job's row and fails with `LeaseLostError` once the claim is no longer
    in force; then nothing was written. `enter`, `progress` and `safe_point` are safe points:
    they raise `StopRequested` if the job is to be paused or cancelled or the process to stop.
    Other writes raise it for a cancellation only, so that a last checkpoint can be saved.
    """

    def __init__(
        self,
        database: Database,
        claim: Claim,
        *,
        work_dir: Path,
        patience: timedelta,
        crash_at: Collection[str] = (),
    ) -> None:
        """Bind to a claim.

        Args:
            patience: How long a write waits for a database that is away.
            crash_at: Names of crash points to die at, in tests of faults.
        """
        super().__init__(database, claim.job_id, patience=patience)
        self.attempt = claim.attempt
        self.fence = claim.fence
        self.folder = work_dir / claim.job_id
        """The job's own folder, kept from attempt to attempt until the job ends."""
        self.published = False
        self._claim = claim
        self._crash_at = crash_at
        self._stopping = False
        self._looked_at = -_SECOND
        self._pace = Pace()
        self._points = Points(claim)
        self._phase: Phase | None = None
        self._mark = self.job().progress_mark

    def take_up(self, variant: int) -> None:
        """Go on with this variant of the job."""
        self.variant = variant

    def request_stop(self) -> None:
        """Make the next safe point raise. For signal handlers: does nothing else."""
        self._stopping = True

    @contextmanager
    def expendable(self) -> Generator[None]:
        """Do work in the block that is not worth saving: a request to stop ends the process at once.

        For what goes on for long without a safe point. In the main thread only.

        Raises:
            StopRequested: The attempt was to end before the block began.
        """
        listening = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            self._obey(JobStatus.RUNNING)
            yield
        finally:
            signal.signal(signal.SIGTERM, listening)

    # -- phases

    def enter(
        self,
        phase: Phase,
        total: int,
        unit: str,
        input_sha256: str | None = None,
        *,
        done: int = 0,
        steps: Mapping[int, int] | None = None,
    ) -> None:
        """Begin a phase, or begin it again; `done` units of it may be there from before.

        What was measured beyond them is forgotten: it will be measured again. `steps` says what is there
        of each variant that the phase goes on with; left out, `done` is of the one under way.
        """
        self._pace = Pace(total, unit, done, first=done)
        self._phase = phase

        def insert(session: Session, now: datetime) -> None:
            phases.start(session, self._claim, phase, self._pace, input_sha256, now=now)
            for variant, step in ({self.variant: done} if steps is None else steps).items():
                series.forget_after(session, self.job_id, phase=phase, variant=variant, step=step)

        said = NewEvent("job.phase_started", f"{phase} started", phase=phase)
        status = self._write(insert, new_events=[said], phase=phase)
        self.crash_point(f"{phase}.started")
        self._obey(status)

    def progress(self, phase: Phase, done: int, total: int, unit: str) -> None:
        """Report how far the phase has come, and that it lives. Written at most once a second."""
        self._mark += 1
        self._pace = self._pace.moved(done, total, unit)
        self.crash_point(f"{phase}.progress")
        if time.monotonic() - self._looked_at < _SECOND and not self._stopping:
            return

        def update(session: Session, now: datetime) -> None:
            phases.move(session, self._claim, phase, self._pace, now=now)

        self._obey(self._write(update, advance=0))

    def leave(self, phase: Phase, output_sha256: str | None = None, *, measured: bool = True) -> None:
        """End a phase. `output_sha256` names its result, for attempts to come.

        One that took less than it usually does, say from a cache, is not `measured`: forecasts pass it over.
        """
        self._pace = self._pace.moved(self._pace.total, self._pace.total, self._pace.unit)

        def finish(session: Session, now: datetime) -> None:
            phases.finish(session, self._claim, phase, self._pace, output_sha256, measured=measured, now=now)

        seconds = {"seconds": round(self._pace.seconds, 3)}
        said = NewEvent("job.phase_completed", f"{phase} completed", phase=phase, data=seconds)
        self._write(finish, new_events=[said])
        self.crash_point(f"{phase}.completed")

    def safe_point(self, _: object = None) -> None:
        """Stop here if the attempt must end. Cheap: speaks to the database once a second.

        To come here is a sign of life, however long the work takes that is reported next.

        Raises:
            StopRequested: Somebody wants the attempt to stop.
            LeaseLostError: The job is not ours any more.
        """
        if time.monotonic() - self._looked_at < _SECOND and not self._stopping:
            return
        self._obey(self._write(_nothing))

    # -- results

    def note_device(self, kind: str) -> None:
        """Note what kind of device the job runs on, for forecasts of others."""
        self._write(_nothing, advance=0, device=kind)

    def pin_revision(self, revision: str) -> None:
        """Note which revision of the base model the job uses, for this attempt and all to come."""
        self._write(_nothing, advance=0, base_revision=revision)

    def add_supervision(self, rows: Sequence[SupervisionRow]) -> None:
        """Store supervision; rows with the same variant, fact and generation are replaced."""
        owner = {"job_id": self.job_id, "fence": self._claim.fence}
        for start in range(0, len(rows), CHUNK):
            values = [
                {each.name: getattr(row, each.name) for each in fields(row)} | owner
                for row in rows[start : start + CHUNK]
            ]

            def insert(session: Session, _: datetime, values: list[dict[str, Any]] = values) -> None:
                upsert(session, Supervision, values, update=("ord", "verified", "fence", "body", "pieces"))

            self._write(insert, progress=True)
            self.crash_point("generating.after_supervision")

    def register_checkpoint(
        self,
        phase: Phase,
        step: int,
        input_sha256: str,
        uri: str,
        manifest_sha256: str,
        bytes: int,  # noqa: A002  the column's name
    ) -> list[str]:
        """Make a checkpoint that is complete on disk known: only now can it be resumed from.

        Returns:
            Where older checkpoints lie that are no longer registered, for the caller to delete.
        """
        self.crash_point(f"{phase}.before_checkpoint")
        row = {
            "phase": phase,
            "variant": self.variant,
            "step": step,
            "input_sha256": input_sha256,
            "uri": uri,
            "manifest_sha256": manifest_sha256,
            "bytes": bytes,
        }
        dropped: list[str] = []

        def insert(session: Session, now: datetime) -> None:
            dropped[:] = checkpoints.register(session, self._claim, row, now=now)

        data = {"step": step, "bytes": bytes}
        said = NewEvent("job.checkpoint_saved", f"checkpoint at step {step}", phase=phase, data=data)
        self._write(insert, new_events=[said], progress=True)
        self.crash_point(f"{phase}.after_checkpoint")
        return dropped

    def metrics(self, phase: Phase, step: int, values: Mapping[str, float]) -> None:
        """Note what was measured after a step. It is written with what is written next, such as a checkpoint.

        So a step whose checkpoint is registered has its points, and one that is not is measured again.
        """
        self._points.add(phase, self.variant, step, values)

    def keep(self, phase: Phase, input_sha256: str, files: Mapping[str, str]) -> None:
        """Note what the phase made for the variant, for attempts to come: digests by names."""

        def replace(session: Session, now: datetime) -> None:
            phases.keep(session, self.job_id, phase, self.variant, input_sha256, files, now=now)

        self._write(replace, progress=True)
        self.crash_point(f"{phase}.kept")

    def event(self, kind: str, message: str, *, level: Level = Level.INFO, **data: Any) -> None:
        """Add an event to the job's."""
        said = NewEvent(kind, message, phase=self._phase, level=level, data=data)
        self._write(_nothing, new_events=[said], advance=0)

    def warning(self, message: str, **data: Any) -> None:
        """Tell the user about something that did not stop the job."""
        self.event("job.warning", message, level=Level.WARNING, **data)

    def warning_once(self, message: str, **data: Any) -> None:
        """Do so unless this attempt or an earlier one has said it."""
        said = select(Event.data).where(
            Event.job_id == self.job_id, Event.type == "job.warning", Event.message == message
        )
        if data not in self._read(lambda session: session.scalars(said).all()):
            self.warning(message, **data)

    def publish(
        self, *publications: Publication, recommended: int = 0, frontier: JsonObject | None = None
    ) -> None:
        """End the job as succeeded, with its adapters and their evaluations, or leave no trace.

        Args:
            recommended: The variant whose gate is the job's.
            frontier: How several compare.

        Raises:
            StopRequested: The job is being cancelled.
            LeaseLostError: The job is not ours any more.
        """
        best = next(each for each in publications if each.variant == recommended)

        def insert(session: Session, job: Job, now: datetime) -> None:
            for each in publications:
                insert_publication(session, job, each, recommended=each is best, now=now)

        self._end(Ending(best, insert, story_of(publications, best), frontier))

    def publish_measurement(self, measurement: Measurement) -> None:
        """End the job as succeeded, with the evaluation that it was for, or leave no trace.

        Raises:
            StopRequested: The job is being cancelled.
            LeaseLostError: The job is not ours any more.
        """

        def insert(session: Session, job: Job, now: datetime) -> None:
            insert_measurement(session, job, measurement, adapter_id=job.adapter_id, now=now)

        self._end(Ending(measurement, insert, story_of_measurement(measurement)))

    def publish_export(self, export: ExportPublication) -> None:
        """End the job as succeeded, with the export that it was for, or leave no trace.

        Raises:
            StopRequested: The job is being cancelled.
            LeaseLostError: The job is not ours any more.
            AdapterDeletedError: The adapter was deleted meanwhile.
        """
        job = self.job()
        export_id = ExportId(new_id("exp", now=job.created_at))
        adapter_id = AdapterId(job.adapter_id or "")

        def insert(session: Session, job: Job, now: datetime) -> None:
            insert_export(session, job, export, export_id, now=now)

        self._end(Ending(export, insert, story_of_export(export, adapter_id, export_id)))

    def _end(self, ending: Ending) -> None:
        end_job(self._database, self._claim, ending, patience=self._patience, crash_point=self.crash_point)
        self.published = True

    # -- inside

    def crash_point(self, name: str) -> None:
        """Die here, once per job, if a test asked for it: at `name`, or at that of a variant, `name@1`."""
        for wanted in {name, f"{name}@{self.variant}"}.intersection(self._crash_at):
            marker = self.folder / f"crashed-{wanted}"
            if not marker.exists():
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    def _write(
        self,
        body: Callable[[Session, datetime], None],
        *,
        new_events: Sequence[NewEvent] = (),
        progress: bool = False,
        advance: int = 1,
        **changes: Any,
    ) -> JobStatus:
        """Run `body` while holding the row. Returns what the user wants of the job."""
        self._mark += advance

        def guarded(session: Session) -> JobStatus:
            now = self._database.now(session)
            status = leases.guard(
                session,
                self.job_id,
                self._claim.fence,
                now=now,
                attempt=self.attempt,
                new_events=new_events,
                progress=progress,
                mark=self._mark,
                **changes,
            )
            if status is JobStatus.CANCELLING:
                raise StopRequested(status)
            body(session, now)
            self._points.store(session)
            return status

        status = write(self._database, guarded, patience=self._patience)
        self._points.clear()
        self._looked_at = time.monotonic()
        return status

    def _obey(self, status: JobStatus) -> None:
        if self._stopping or status is not JobStatus.RUNNING:
            raise StopRequested(status)


def _nothing(_: Session, __: datetime) -> None:
    """Write no more than the guard does."""
