"""What a running pipeline may do to its job. Everything goes through the fence."""

import os
import signal
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.adapters.models import AdapterFile
from app.db.base import JsonObject
from app.db.engine import Database
from app.events.models import Level
from app.events.repository import NewEvent
from app.fact_sets.models import FactRow
from app.jobs import leases
from app.jobs.errors import LeaseLostError
from app.jobs.leases import Claim
from app.jobs.models import Checkpoint, Job, Supervision
from app.jobs.states import JobStatus, Phase
from app.metrics import repository as series
from worker import checkpoints, phases
from worker.phases import Pace
from worker.points import Points
from worker.publication import (
    Measurement,
    Publication,
    insert_measurement,
    insert_publication,
    story_of,
    story_of_measurement,
)
from worker.stopping import StopRequested as StopRequested  # noqa: PLC0414  whoever holds a control needs it
from worker.transactions import read, write
from worker.upsert import upsert

T = TypeVar("T")

CHUNK: Final = 64
"""Most rows of supervision in one transaction: a longer one would hold up heartbeats."""

_SECOND: Final = 1.0


@dataclass(frozen=True, slots=True)
class SupervisionRow:
    """What the base model wrote for the fact at place `ord`, for a variant of the job.

    `pieces` is the text of each token.
    """

    ord: int
    fact_key: str
    generation: int
    verified: bool
    body: JsonObject
    variant: int = 0
    pieces: list[str] | None = None


class Control:
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
        self.job_id = claim.job_id
        self.attempt = claim.attempt
        self.fence = claim.fence
        self.folder = work_dir / claim.job_id
        """The job's own folder, kept from attempt to attempt until the job ends."""
        self.published = False
        self.variant = 0
        """Which variant of the job is under way: whose checkpoints, results and metrics these are."""
        self._database = database
        self._claim = claim
        self._patience = patience
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

    # -- reading

    def job(self) -> Job:
        """Return the job as it stands."""
        return self._read(lambda session: session.scalars(select(Job).where(Job.id == self.job_id)).one())

    def facts(self) -> Sequence[JsonObject]:
        """Return the facts of the job's set, in their order."""
        statement = (
            select(FactRow.body)
            .join(Job, Job.fact_set_id == FactRow.fact_set_id)
            .where(Job.id == self.job_id)
            .order_by(FactRow.ord)
        )
        return self._read(lambda session: session.scalars(statement).all())

    def adapter_files(self) -> Mapping[str, str]:
        """Return the digests, by path, of the adapter that the job measures: none once it was deleted."""
        statement = (
            select(AdapterFile.path, AdapterFile.sha256)
            .join(Job, Job.adapter_id == AdapterFile.adapter_id)
            .where(Job.id == self.job_id)
        )
        return self._read(lambda session: {path: sha256 for path, sha256 in session.execute(statement)})  # noqa: C416

    def finished(self, phase: Phase, input_sha256: str) -> str | None:
        """Return the digest of what the phase made, if it was finished before with this input."""
        return self._read(lambda session: phases.finished_output(session, self.job_id, phase, input_sha256))

    def kept(self, phase: Phase, input_sha256: str) -> dict[str, str]:
        """Return what the phase made for the variant from this input: digests by names."""
        key = (self.job_id, phase, self.variant, input_sha256)
        return self._read(lambda session: phases.kept(session, *key))

    def supervision(self) -> list[SupervisionRow]:
        """Return what there is, from this and earlier attempts, by variant in the order of the facts."""
        order = (Supervision.variant, Supervision.ord, Supervision.generation)
        statement = select(Supervision).where(Supervision.job_id == self.job_id).order_by(*order)
        rows = self._read(lambda session: session.scalars(statement).all())
        return [
            SupervisionRow(
                row.ord, row.fact_key, row.generation, row.verified, row.body, row.variant, row.pieces
            )
            for row in rows
        ]

    def checkpoints(self, phase: Phase, input_sha256: str) -> Sequence[Checkpoint]:
        """Return the registered checkpoints that were made from this input, newest first."""
        return self._read(lambda session: checkpoints.newest_first(session, self.job_id, phase, input_sha256))

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
                {
                    "variant": row.variant,
                    "ord": row.ord,
                    "fact_key": row.fact_key,
                    "generation": row.generation,
                    "verified": row.verified,
                    "body": row.body,
                    "pieces": row.pieces,
                    **owner,
                }
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

        self._end(best, insert, story_of(publications, best), frontier)

    def publish_measurement(self, measurement: Measurement) -> None:
        """End the job as succeeded, with the evaluation that it was for, or leave no trace.

        Raises:
            StopRequested: The job is being cancelled.
            LeaseLostError: The job is not ours any more.
        """

        def insert(session: Session, job: Job, now: datetime) -> None:
            insert_measurement(session, job, measurement, adapter_id=job.adapter_id, now=now)

        self._end(measurement, insert, story_of_measurement(measurement))

    def _end(
        self,
        best: Publication | Measurement,
        insert: Callable[[Session, Job, datetime], None],
        story: Sequence[NewEvent],
        frontier: JsonObject | None = None,
    ) -> None:
        def end(session: Session) -> None:
            now = self._database.now(session)
            if leases.publish(
                session,
                self.job_id,
                self._claim.fence,
                now=now,
                gate_status=best.gate_status,
                gate=best.gate,
                frontier=frontier,
                new_events=story,
            ):
                insert(session, session.scalars(select(Job).where(Job.id == self.job_id)).one(), now)
                self.crash_point("packaging.before_commit")
            else:
                self._explain_refusal(session)

        write(self._database, end, patience=self._patience)
        self.published = True
        self.crash_point("packaging.after_commit")

    def _explain_refusal(self, session: Session) -> None:
        """Raise why the job could not be published; return if an earlier try of ours has done it."""
        row = session.execute(select(Job.fence, Job.status).where(Job.id == self.job_id)).one_or_none()
        if row is None or row.fence != self._claim.fence:
            raise LeaseLostError(self.job_id, self._claim.fence)
        if row.status == JobStatus.CANCELLING:
            raise StopRequested(JobStatus.CANCELLING)
        if row.status != JobStatus.SUCCEEDED:
            raise LeaseLostError(self.job_id, self._claim.fence)

    # -- inside

    def crash_point(self, name: str) -> None:
        """Die here, once per job, if a test asked for it: at `name`, or at that of a variant, `name@1`."""
        for wanted in {name, f"{name}@{self.variant}"}.intersection(self._crash_at):
            marker = self.folder / f"crashed-{wanted}"
            if not marker.exists():
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    def _read(self, body: Callable[[Session], T]) -> T:
        return read(self._database, body, patience=self._patience)

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
