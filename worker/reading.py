"""What a running pipeline asks about its job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.adapters.models import Adapter, AdapterFile
from app.db.base import JsonObject
from app.db.engine import Database
from app.fact_sets.models import FactRow
from app.ids import AdapterId, FactSetId, JobId
from app.jobs.models import Checkpoint, Job, Supervision
from app.jobs.states import Phase
from app.jobs.variants import variants_of
from worker import checkpoints, phases
from worker.transactions import read

T = TypeVar("T")


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


class JobReader:
    """Reads the rows of one job, and those that belong to it. Needs no claim."""

    def __init__(self, database: Database, job_id: JobId, *, patience: timedelta) -> None:
        """Bind to a job. `patience` is how long is waited for a database that is away."""
        self.job_id = job_id
        self.variant = 0
        """Which variant of the job is under way: whose checkpoints, results and metrics these are."""
        self._database = database
        self._patience = patience

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

    def facts_of(self, fact_set_id: FactSetId | None) -> Sequence[JsonObject]:
        """Return the facts of a set, in their order: none once it was deleted."""
        statement = select(FactRow.body).where(FactRow.fact_set_id == fact_set_id).order_by(FactRow.ord)
        return self._read(lambda session: session.scalars(statement).all())

    def files_of(self, adapter_id: AdapterId | None) -> Mapping[str, str]:
        """Return the digests, by path, of the files of an adapter: none once it was deleted."""
        statement = select(AdapterFile.path, AdapterFile.sha256).where(AdapterFile.adapter_id == adapter_id)
        return self._read(lambda session: {path: sha256 for path, sha256 in session.execute(statement)})  # noqa: C416

    def texts_of(self, adapter_id: AdapterId) -> list[SupervisionRow]:
        """Return what an adapter was trained on: nothing once its job was deleted."""

        def rows(session: Session) -> Sequence[Supervision]:
            adapter = session.get_one(Adapter, adapter_id)
            job = session.get(Job, adapter.job_id) if adapter.job_id else None
            if job is None:
                return []
            variant = variants_of(job.method)[adapter.variant].supervised_by
            return session.scalars(_texts(job.id).where(Supervision.variant == variant)).all()

        return [_row(row) for row in self._read(rows)]

    def finished(self, phase: Phase, input_sha256: str) -> str | None:
        """Return the digest of what the phase made, if it was finished before with this input."""
        return self._read(lambda session: phases.finished_output(session, self.job_id, phase, input_sha256))

    def kept(self, phase: Phase, input_sha256: str) -> dict[str, str]:
        """Return what the phase made for the variant from this input: digests by names."""
        key = (self.job_id, phase, self.variant, input_sha256)
        return self._read(lambda session: phases.kept(session, *key))

    def supervision(self) -> list[SupervisionRow]:
        """Return what there is, from this and earlier attempts, by variant in the order of the facts."""
        return [_row(row) for row in self._read(lambda session: session.scalars(_texts(self.job_id)).all())]

    def checkpoints(self, phase: Phase, input_sha256: str) -> Sequence[Checkpoint]:
        """Return the registered checkpoints that were made from this input, newest first."""
        return self._read(lambda session: checkpoints.newest_first(session, self.job_id, phase, input_sha256))

    def _read(self, body: Callable[[Session], T]) -> T:
        return read(self._database, body, patience=self._patience)


def _texts(job_id: JobId) -> Select[Supervision]:
    order = (Supervision.variant, Supervision.ord, Supervision.generation)
    return select(Supervision).where(Supervision.job_id == job_id).order_by(*order)


def _row(row: Supervision) -> SupervisionRow:
    return SupervisionRow(
        row.ord, row.fact_key, row.generation, row.verified, row.body, row.variant, row.pieces
    )
