"""What a finished job puts into the database, all of it in the transaction that publishes it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.adapters.models import Adapter, AdapterFile, AdapterStatus, Blob
from app.db.base import JsonObject
from app.evaluations.models import Evaluation, FactResult
from app.evaluations.models import Score as ScoreRow
from app.events.models import Level
from app.events.repository import NewEvent
from app.exports.models import Export, ExportFile, ExportFormat, ExportStatus
from app.ids import AdapterId, EvaluationId, ExportId, new_id
from app.jobs.models import Job
from mixsd.evaluation.said import gate_line
from mixsd.evaluation.score import Score
from worker.fetching import AdapterDeletedError
from worker.upsert import upsert

_OF_EVALUATIONS: Final[tuple[str, ...]] = ("confidence", "mistakes", "gate")
"""What the summary of an evaluation has of an adapter's."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of the adapter, which lies in the artifact store already."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FactVerdict:
    ord: int
    fact_key: str
    outcome: str
    body: JsonObject


@dataclass(frozen=True, slots=True)
class Publication:
    """An adapter with its evaluation. `sha256` is that of the manifest.

    `gate` is the JSON of `mixsd.evaluation.gate.Gate`, if the job has one. `variant` is the adapter's
    place among those of the job, `label` says which that is, and `method_type` is the job's if left out.
    """

    base_model: str
    base_revision: str
    sha256: str
    summary: JsonObject
    files: Sequence[PublishedFile]
    facts: Sequence[FactVerdict]
    scores: Sequence[Score]
    gate: JsonObject | None = None
    variant: int = 0
    label: str | None = None
    method_type: str | None = None

    @property
    def gate_status(self) -> str | None:
        return self.gate["status"] if self.gate else None

    @property
    def held_back(self) -> bool:
        """Whether the adapter is quarantined: its gate failed."""
        return self.gate_status == "failed"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a job of the kind `evaluation` found out. Its gate holds nothing back."""

    summary: JsonObject
    facts: Sequence[FactVerdict]
    scores: Sequence[Score]
    gate: JsonObject | None = None

    @property
    def gate_status(self) -> str | None:
        return self.gate["status"] if self.gate else None


@dataclass(frozen=True, slots=True)
class ExportPublication:
    """What a job of the kind `export` has written. It has no gate. `sha256` is that of the manifest."""

    format: str
    dtype: str
    sha256: str
    parity: JsonObject
    files: Sequence[PublishedFile]
    gate: JsonObject | None = None
    gate_status: str | None = None

    @property
    def status(self) -> ExportStatus:
        return ExportStatus.UNUSABLE if self.parity["status"] == "failed" else ExportStatus.READY


def story_of_export(export: ExportPublication, adapter_id: AdapterId, export_id: ExportId) -> list[NewEvent]:
    """Return the events with which a job ends that wrote an adapter."""
    data = {"adapter_id": adapter_id, "export_id": export_id, "format": export.format}
    data |= {"status": str(export.status), "sha256": export.sha256, "parity": export.parity["status"]}
    said = {
        "passed": f"the adapter was written as {export.format}, and says what it said",
        "failed": f"the adapter was written as {export.format}, and does not say what it said",
        "not_checked": f"the adapter was written as {export.format}, which was not checked",
    }[export.parity["status"]]
    why = "; ".join(export.parity["reasons"])
    level = Level.INFO if export.parity["status"] == "passed" else Level.WARNING
    story = [NewEvent("adapter.exported", f"{said}: {why}" if why else said, level=level, data=data)]
    return [*story, NewEvent("job.succeeded", "the adapter was exported")]


def story_of_measurement(measurement: Measurement) -> list[NewEvent]:
    """Return the events with which a job ends that measured an adapter."""
    story = [NewEvent("evaluation.completed", f"{len(measurement.facts)} facts were judged")]
    if measurement.gate and measurement.gate_status != "passed":
        kind = "job.gate_failed" if measurement.gate_status == "failed" else "job.warning"
        said = f"{gate_line(measurement.gate)}; the adapter stays as it is"
        story.append(NewEvent(kind, said, level=Level.WARNING, data=measurement.gate))
    return [*story, NewEvent("job.succeeded", "the adapter was measured")]


def story_of(publications: Sequence[Publication], best: Publication) -> list[NewEvent]:
    """Return the events with which a job ends as succeeded. Its gate is that of the best adapter."""
    story = [event for each in publications for event in _story_of_one(each, several=len(publications) > 1)]
    gate, ending = best.gate, "the adapter is ready"
    if best.held_back and gate:
        ending = "the adapter is stored, and held back by its gate"
        story.append(NewEvent("job.gate_failed", gate_line(gate), level=Level.WARNING, data=gate))
    elif best.gate_status == "inconclusive" and gate:
        said = f"{gate_line(gate)}; the adapter is not held back"
        story.append(NewEvent("job.warning", said, level=Level.WARNING, data=gate))
    if len(publications) > 1:
        ending = f"{len(publications)} adapters are stored; of the recommended one, {best.label}: {ending}"
    story += [_quarantined(each, several=len(publications) > 1) for each in publications if each.held_back]
    return [*story, NewEvent("job.succeeded", ending)]


def _story_of_one(publication: Publication, *, several: bool) -> Iterator[NewEvent]:
    which, data = _which(publication, several=several)
    yield NewEvent("evaluation.completed", f"{which}{len(publication.facts)} facts were judged", data=data)
    created = {"sha256": publication.sha256, **data}
    yield NewEvent("adapter.created", f"{which}the adapter was stored", data=created)


def _quarantined(publication: Publication, *, several: bool) -> NewEvent:
    which, data = _which(publication, several=several)
    said = f"{which}the files of the adapter are held back until it is released"
    return NewEvent("adapter.quarantined", said, level=Level.WARNING, data=data)


def _which(publication: Publication, *, several: bool) -> tuple[str, JsonObject]:
    """Return how a message begins, and what data says, where there are several adapters."""
    if not several:
        return "", {}
    return f"{publication.label}: ", {"variant": publication.variant, "label": publication.label}


def insert_publication(
    session: Session, job: Job, publication: Publication, *, recommended: bool = True, now: datetime
) -> None:
    """Insert adapter and evaluation of a job that this very transaction has published."""
    adapter = Adapter(
        id=AdapterId(new_id("adp", now=now)),
        project_id=job.project_id,
        job_id=job.id,
        fact_set_id=job.fact_set_id,
        parent_adapter_id=job.parent_adapter_id,
        variant=publication.variant,
        label=publication.label,
        recommended=recommended,
        status=AdapterStatus.QUARANTINED if publication.held_back else AdapterStatus.READY,
        base_model=publication.base_model,
        base_revision=publication.base_revision,
        method_type=publication.method_type or job.method_type,
        sha256=publication.sha256,
        bytes=sum(file.bytes for file in publication.files),
        summary=publication.summary,
        created_at=now,
    )
    session.add(adapter)
    _insert_blobs(session, publication.files, now=now)
    _insert(session, AdapterFile, map(asdict, publication.files), adapter_id=adapter.id)

    summary = {name: publication.summary[name] for name in _OF_EVALUATIONS if name in publication.summary}
    measurement = Measurement(summary, publication.facts, publication.scores, publication.gate)
    insert_measurement(session, job, measurement, adapter_id=adapter.id, now=now)


def insert_measurement(
    session: Session, job: Job, measurement: Measurement, *, adapter_id: AdapterId | None, now: datetime
) -> None:
    """Insert an evaluation of a job that this very transaction has published."""
    evaluation = Evaluation(
        id=EvaluationId(new_id("eval", now=now)),
        project_id=job.project_id,
        job_id=job.id,
        adapter_id=adapter_id,
        summary=measurement.summary,
        created_at=now,
    )
    session.add(evaluation)
    session.flush()
    _insert(session, FactResult, map(asdict, measurement.facts), evaluation_id=evaluation.id)
    scores = (score.to_json() for score in measurement.scores)
    _insert(session, ScoreRow, scores, evaluation_id=evaluation.id)


def insert_export(
    session: Session, job: Job, export: ExportPublication, export_id: ExportId, *, now: datetime
) -> None:
    """Insert the export of a job that this very transaction has published.

    Raises:
        AdapterDeletedError: The adapter was deleted meanwhile.
    """
    there = select(Adapter.id).where(Adapter.id == job.adapter_id, Adapter.status == AdapterStatus.READY)
    adapter_id = session.scalars(there.with_for_update()).one_or_none()
    if adapter_id is None:
        raise AdapterDeletedError(f"the adapter {job.adapter_id} was deleted before it was exported")
    session.add(
        Export(
            id=export_id,
            project_id=job.project_id,
            adapter_id=adapter_id,
            job_id=job.id,
            format=ExportFormat(export.format),
            status=export.status,
            dtype=export.dtype,
            sha256=export.sha256,
            bytes=sum(file.bytes for file in export.files),
            parity=export.parity,
            created_at=now,
        )
    )
    _insert_blobs(session, export.files, now=now)
    _insert(session, ExportFile, map(asdict, export.files), export_id=export_id)


def _insert_blobs(session: Session, files: Sequence[PublishedFile], *, now: datetime) -> None:
    rows = {file.sha256: {"sha256": file.sha256, "bytes": file.bytes, "created_at": now} for file in files}
    upsert(session, Blob, list(rows.values()), update=())
    session.flush()


def _insert(
    session: Session,
    table: type[AdapterFile | ExportFile | FactResult | ScoreRow],
    rows: Iterable[JsonObject],
    **owner: Any,
) -> None:
    if owned := [row | owner for row in rows]:
        session.execute(insert(table), owned)
