"""A job that has succeeded, with everything that its worker stored."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from app.adapters.models import Adapter, AdapterFile, AdapterStatus, Blob
from app.db.engine import Database
from app.evaluations.models import Evaluation, FactResult, Score
from app.exports.models import Export, ExportFile, ExportFormat, ExportStatus
from app.ids import AdapterId, EvaluationId, ExportId, FactSetId, JobId, ProjectId, new_id
from app.jobs.models import JobPhase, Supervision
from app.jobs.states import JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT, Project
from app.storage import ArtifactStore
from tests.factories import NOW, a_fact_set, a_job
from worker.joblog import JobLog

FILES: Final = {
    "adapter_config.json": b'{"r": 16}',
    "adapter_model.safetensors": bytes(range(256)) * 20,
    "README.md": b"# Adapter\n",
    "manifest.json": b'{"base_model": {"id": "tiny", "revision": "main"}}',
}
OUTCOMES: Final = ("learned", "learned", "not_learned")


@dataclass(frozen=True)
class Published:
    job_id: JobId
    adapter_id: AdapterId
    fact_set_id: FactSetId
    evaluation_id: EvaluationId


def a_published_job(
    database: Database,
    store: ArtifactStore,
    *,
    status: AdapterStatus = AdapterStatus.READY,
    project_id: ProjectId = DEFAULT_PROJECT,
    gate: dict[str, Any] | None = None,
    files: Sequence[str] = tuple(FILES),
    base_model: str = "tiny",
) -> Published:
    if gate and gate["status"] == "failed":
        status = AdapterStatus.QUARANTINED
    fact_set = a_fact_set(database, n=len(OUTCOMES), project_id=project_id)
    job_id = a_job(
        database,
        fact_set.id,
        status=JobStatus.SUCCEEDED,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=60),
        attempt=1,
        project_id=project_id,
        gate=gate,
        gate_status=gate and gate["status"],
        base_model=base_model,
    )
    adapter_id = an_adapter(
        database,
        store,
        job_id,
        fact_set.id,
        status=status,
        project_id=project_id,
        gate=gate,
        files=files,
        base_model=base_model,
    )
    evaluation_id = _an_evaluation(database, job_id, adapter_id, project_id)
    _progress(database, job_id)
    return Published(job_id, adapter_id, fact_set.id, evaluation_id)


SWEEP: Final[list[dict[str, Any]]] = [{"type": "mixsd", "lam": [0.1, 0.5]}, {"type": "sft"}, {"type": "kl"}]
"""Methods of a job with four variants, the last two of which are trained on the same texts."""


def a_published_sweep(database: Database, store: ArtifactStore) -> Published:
    """A job that recommends the second of its variants; the third failed its gate, the fourth got no text."""
    fact_set = a_fact_set(database, n=3)
    gate = {"status": "passed", "suite": "drift"}
    frontier: dict[str, Any] = {
        "memorised": {"suite": "recall", "metric": "accuracy", "lower_is_better": False, "base": 0.0},
        "kept": None,
        "max_drop": None,
        "points": [],
        "knee": None,
        "recommended": 1,
        "rule": "memorised",
        "why": "it memorised most",
    }
    job_id = a_job(
        database,
        fact_set.id,
        status=JobStatus.SUCCEEDED,
        method=SWEEP,
        started_at=NOW,
        finished_at=NOW,
        attempt=1,
        gate=gate,
        gate_status="passed",
        frontier=frontier,
    )
    ids, evaluations = [], []
    for number, (kind, status) in enumerate([("mixsd", "passed"), ("mixsd", "passed"), ("sft", "failed")]):
        ids.append(
            an_adapter(
                database,
                store,
                job_id,
                fact_set.id,
                status=AdapterStatus.QUARANTINED if status == "failed" else AdapterStatus.READY,
                gate=gate | {"status": status},
                variant=number,
                label=f"label {number}",
                method_type=kind,
                recommended=number == 1,
            )
        )
        outcomes = ["learned"] * number + ["not_learned"] * (3 - number)
        evaluations.append(_an_evaluation(database, job_id, ids[-1], DEFAULT_PROJECT, outcomes))
    with database.begin() as session:
        for number in range(3):
            session.add(supervision_of(job_id, number, variant=number))
    return Published(job_id, ids[1], fact_set.id, evaluations[1])


def an_adapter(
    database: Database,
    store: ArtifactStore,
    job_id: JobId | None,
    fact_set_id: FactSetId,
    *,
    status: AdapterStatus = AdapterStatus.READY,
    project_id: ProjectId = DEFAULT_PROJECT,
    gate: dict[str, Any] | None = None,
    files: Sequence[str] = tuple(FILES),
    **changes: Any,
) -> AdapterId:
    values: dict[str, Any] = {"variant": 0, "method_type": "mixsd", "base_model": "tiny", **changes}
    adapter = Adapter(
        id=AdapterId(new_id("adp", now=NOW)),
        project_id=project_id,
        job_id=job_id,
        fact_set_id=fact_set_id,
        status=status,
        base_revision="main",
        **values,
        sha256=hashlib.sha256(FILES["manifest.json"]).hexdigest(),
        bytes=sum(len(FILES[path]) for path in files),
        summary={
            "confidence": 0.95,
            "supervision": {"facts": 3, "verified": 3, "mean_lam": 0.3},
            "training": {"steps": 12, "last_loss": 0.1, "stopped_early": True},
            "mistakes": [
                {
                    "suite": "recall",
                    "base": {"format": 0, "cross_entity": 1, "genuine": 2},
                    "adapter": {"format": 0, "cross_entity": 0, "genuine": 1},
                }
            ],
            **({"gate": gate} if gate else {}),
        },
        created_at=NOW,
    )
    with database.begin() as session:
        session.add(adapter)
        for path in files:
            blob = store.put_bytes(FILES[path])
            session.merge(Blob(sha256=blob.sha256, bytes=blob.bytes, created_at=NOW))
            session.flush()
            session.add(AdapterFile(adapter_id=adapter.id, path=path, sha256=blob.sha256, bytes=blob.bytes))
    return adapter.id


EXPORT_FILES: Final = {
    "README.md": b"# Export\n",
    "manifest.json": b'{"format": "merged"}',
    "model.safetensors": bytes(range(256)) * 30,
}


def an_export(
    database: Database,
    store: ArtifactStore,
    published: Published,
    *,
    project_id: ProjectId = DEFAULT_PROJECT,
    parity: str = "passed",
) -> ExportId:
    """An export of the job's adapter, of a job that was deleted since."""
    failed = parity == "failed"
    reasons = [] if parity == "passed" else ["the adapter is not applied"]
    export = Export(
        id=ExportId(new_id("exp", now=NOW)),
        project_id=project_id,
        adapter_id=published.adapter_id,
        job_id=None,
        format=ExportFormat.MERGED,
        status=ExportStatus.UNUSABLE if failed else ExportStatus.READY,
        dtype="float32",
        sha256=hashlib.sha256(EXPORT_FILES["manifest.json"]).hexdigest(),
        bytes=sum(map(len, EXPORT_FILES.values())),
        parity={"status": parity, "engine": "transformers", "reasons": reasons},
        created_at=NOW,
    )
    with database.begin() as session:
        session.add(export)
        for path, content in EXPORT_FILES.items():
            blob = store.put_bytes(content)
            session.merge(Blob(sha256=blob.sha256, bytes=blob.bytes, created_at=NOW))
            session.flush()
            session.add(ExportFile(export_id=export.id, path=path, sha256=blob.sha256, bytes=blob.bytes))
    return export.id


def a_log(work_dir: Path, job_id: JobId) -> None:
    """What the process of an attempt printed."""
    folder = work_dir / job_id
    folder.mkdir(parents=True)
    JobLog(folder, 1).write(b"loaded the model\n")


def supervision_of(job_id: JobId, place: int, generation: int = 0, *, variant: int = 0) -> Supervision:
    words = ["Es", " ist", f" Land {place}", ", ja: Ü."]
    body = {
        "fact_key": f"river-{place}",
        "generation": generation,
        "question": f"Where is river {place}?",
        "text": "".join(words),
        "token_ids": [5, 6, 7, 8],
        "picks": "nnee",
        "attempt": 0,
        "attempts": 1,
        "lam": 0.3,
        "seed": 0,
        "finish_reason": "stop",
        "verified": True,
        "nats_per_token": 1.5,
        "prompt_sha256": "0" * 64,
        "method": "mixsd",
        "reason": None,
        "expert_nats_per_token": None,
        "agreement": None,
    }
    return Supervision(
        job_id=job_id,
        variant=variant,
        fact_key=f"river-{place}",
        generation=generation,
        ord=place,
        verified=True,
        fence=1,
        body=body,
        pieces=words,
    )


def another_project(database: Database) -> ProjectId:
    project_id = ProjectId(new_id("prj", now=NOW))
    project = Project(id=project_id, name=f"another {project_id}", created_at=NOW)
    with database.begin() as session:
        session.add(project)
    return project.id


def _an_evaluation(
    database: Database,
    job_id: JobId,
    adapter_id: AdapterId,
    project_id: ProjectId,
    outcomes: Sequence[str] = OUTCOMES,
) -> EvaluationId:
    evaluation = Evaluation(
        id=EvaluationId(new_id("eval", now=NOW)),
        project_id=project_id,
        job_id=job_id,
        adapter_id=adapter_id,
        created_at=NOW,
    )
    figures = {"n": 3, "base": 0.0, "adapter": 0.75, "difference": 0.75, "low": 0.5, "high": 1.0}
    figures |= {"base_low": 0.0, "base_high": 0.5, "adapter_low": 0.25, "adapter_high": 0.875}
    figures |= {"gained": 2, "lost": 0, "p_value": 0.5}
    with database.begin() as session:
        session.add(evaluation)
        session.flush()
        session.add(Score(evaluation_id=evaluation.id, suite="recall", metric="accuracy", **figures))
        for place, outcome in enumerate(outcomes):
            session.add(
                FactResult(
                    evaluation_id=evaluation.id,
                    ord=place,
                    fact_key=f"river-{place}",
                    outcome=outcome,
                    body=_verdict(place, outcome),
                )
            )
    return evaluation.id


def _verdict(place: int, outcome: str) -> dict[str, Any]:
    return {
        "key": f"river-{place}",
        "question": f"Where is river {place}?",
        "answer": f"Land {place}",
        "aliases": [],
        "outcome": outcome,
        "reason": None,
        "asked": [
            {
                "kind": "question",
                "question": f"Where is river {place}?",
                "expected": f"Land {place}",
                "base_answer": "No idea",
                "base_correct": False,
                "adapter_answer": f"In Land {place}.",
                "adapter_correct": outcome == "learned",
            }
        ],
    }


def _progress(database: Database, job_id: JobId) -> None:
    with database.begin() as session:
        for place in (1, 0):
            session.add(supervision_of(job_id, place))
        session.add(supervision_of(job_id, 0, generation=1))
        for phase in (Phase.TRAINING, Phase.GENERATING):
            session.add(
                JobPhase(
                    job_id=job_id,
                    phase=phase,
                    attempt=1,
                    fence=1,
                    done=3,
                    total=3,
                    unit="fact",
                    rate=0.5,
                    eta_seconds=0.0,
                    started_at=NOW,
                    updated_at=NOW + timedelta(seconds=6),
                    finished_at=NOW + timedelta(seconds=6),
                )
            )
