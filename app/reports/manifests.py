"""What decided a run: from the rows of its job, and from the manifest that its adapter was packed with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from app.adapters.models import Adapter, AdapterStatus
from app.fact_sets.models import FactSet, FactSetStatus
from app.jobs.models import Job, JobPhase
from app.jobs.states import JobKind
from app.jobs.variants import variants_of
from app.reports.schemas import (
    EvaluationRequest,
    ExportRequest,
    JobManifest,
    JobRequest,
    ManifestAdapter,
    ManifestModel,
    ManifestParent,
    ManifestVariant,
    PhaseDigests,
    RunFacts,
)
from app.storage import ArtifactStore

log = structlog.get_logger(__name__)

WEIGHTS: Final = "adapter_model.safetensors"


def packed_manifest(store: ArtifactStore, adapter: Adapter | None) -> Mapping[str, Any]:
    """Return the manifest that an adapter was packed with; empty if there is none, or no longer."""
    if adapter is None:
        return {}
    try:
        with store.open(adapter.sha256) as blob:
            found: Mapping[str, Any] = json.loads(blob.read())
    except (OSError, ValueError) as error:
        log.warning("manifest.unreadable", adapter_id=adapter.id, error=str(error))
        return {}
    return found


def variants_in(store: ArtifactStore, job: Job, made: Sequence[Adapter]) -> list[ManifestVariant]:
    """Return what is known of each variant of a job. `made` are its adapters, also those deleted."""
    adapters = {adapter.variant: adapter for adapter in made}
    found = []
    for variant in variants_of(job.method):
        adapter = adapters.get(variant.number)
        packed = packed_manifest(store, adapter)
        found.append(
            ManifestVariant(
                variant=variant.number,
                label=variant.label,
                supervision_sha256=(packed.get("supervision") or {}).get("sha256"),
                adapter=_adapter(adapter, packed.get("files")),
            )
        )
    return found


def parent_in(
    job: Job, adapter: Adapter | None, fact_set: FactSet | None, packed: Mapping[str, Any]
) -> ManifestParent | None:
    """Return what is known of the parent of a job: `adapter`, which was taught `fact_set`."""
    if job.parent_adapter_id is None or job.parent_fact_set_id is None:
        return None
    there = adapter is not None and adapter.status is AdapterStatus.READY
    known = fact_set is not None and fact_set.status is FactSetStatus.READY
    return ManifestParent(
        id=job.parent_adapter_id,
        sha256=adapter and adapter.sha256,
        available=there and known,
        fact_set_id=job.parent_fact_set_id,
        weights_sha256=(packed.get("parent") or {}).get("weights_sha256"),
        facts_sha256=fact_set and fact_set.sha256,
    )


def manifest_of(
    job: Job,
    fact_set: FactSet,
    adapter: Adapter | None,
    phases: Sequence[JobPhase],
    packed: Mapping[str, Any],
    variants: Sequence[ManifestVariant],
    parent: ManifestParent | None = None,
) -> JobManifest:
    """Put together all that is known. `packed` is the manifest in the adapter's package."""
    revision = adapter.base_revision if adapter else job.base_revision
    available = fact_set.status is FactSetStatus.READY
    lost = parent is not None and not parent.available
    deleted = adapter is None or adapter.status is AdapterStatus.DELETED
    gone = lost or (job.kind is not JobKind.TRAINING and deleted)
    versions = dict(packed.get("versions") or {})
    law = versions.pop("law", None)
    return JobManifest.model_validate(
        {
            "job_id": job.id,
            "kind": job.kind,
            "status": job.status,
            "repeatable": available and revision is not None and not gone,
            "request": request_of(job, revision),
            "request_sha256": job.request_sha256,
            "facts": RunFacts(
                fact_set_id=fact_set.id, n=fact_set.n_facts, sha256=fact_set.sha256, available=available
            ),
            "parent": parent,
            "base_model": ManifestModel.model_validate(
                {**(packed.get("base_model") or {}), "id": job.base_model, "revision": revision}
            ),
            "supervision_sha256": (packed.get("supervision") or {}).get("sha256"),
            "suites": packed.get("suites"),
            "law": None if law is None else int(law),
            "versions": versions or None,
            "machine": packed.get("compute"),
            "phases": [_digests(row) for row in phases],
            "adapter": _adapter(adapter, packed.get("files")),
            "variants": list(variants),
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
        }
    )


def request_of(job: Job, revision: str | None) -> JobRequest | EvaluationRequest | ExportRequest:
    """Return what to send to have the same again.

    If memory ran out, it has the number of texts in a pass with which there was enough: it
    changes how sums are rounded.
    """
    if job.kind is JobKind.EXPORT:
        named = {"name": job.name, "priority": job.priority, "metadata": job.labels}
        return ExportRequest.model_validate({**named, **(job.export or {})})
    asked = {
        "name": job.name,
        "fact_set_id": job.fact_set_id,
        "evaluation": job.evaluation,
        "priority": job.priority,
        "metadata": job.labels,
    }
    if job.kind is JobKind.EVALUATION:
        return EvaluationRequest.model_validate({**asked, "adapter_id": job.adapter_id})
    training = dict(job.training)
    if job.micro_batch_override:
        training["micro_batch"] = job.micro_batch_override
    return JobRequest.model_validate(
        {
            **asked,
            "base_model": job.base_model,
            "parent_adapter_id": job.parent_adapter_id,
            "revision": revision,
            "method": job.method,
            "training": training,
        }
    )


def _digests(row: JobPhase) -> PhaseDigests:
    return PhaseDigests(
        phase=row.phase,
        attempt=row.attempt,
        finished=row.finished_at is not None,
        input_sha256=row.input_sha256,
        output_sha256=row.output_sha256,
    )


def _adapter(adapter: Adapter | None, files: Mapping[str, str] | None) -> ManifestAdapter | None:
    if adapter is None:
        return None
    return ManifestAdapter(
        id=adapter.id,
        status=adapter.status,
        sha256=adapter.sha256,
        weights_sha256=(files or {}).get(WEIGHTS),
        files=dict(files) if files else None,
    )
