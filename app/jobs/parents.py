"""The adapter that a job starts from: whether it may, what shape it has, and what became of its facts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.errors import AdapterQuarantinedError
from app.adapters.models import IMPORTED, Adapter, AdapterStatus
from app.db.base import JsonObject
from app.fact_sets import comparing
from app.fact_sets import repository as fact_sets
from app.fact_sets.comparing import Counts
from app.fact_sets.errors import FactSetNotFoundError
from app.fact_sets.models import FactSet
from app.fact_sets.reading import Upload
from app.ids import AdapterId, FactSetId, ProjectId
from app.jobs.errors import NothingChangedError, ParentFactsDeletedError, ParentMismatchError
from app.jobs.requests import JobCreate
from app.storage import ArtifactStore

log = structlog.get_logger(__name__)

SHAPE: Final = ("rank", "alpha", "target_modules", "dora", "rslora")
"""Settings of training that are those of the parent."""


@dataclass(frozen=True, slots=True)
class Parent:
    """What a job has to know of the adapter that it starts from.

    Attributes:
        adapter_id: The adapter.
        sha256: Of its manifest.
        base_revision: That of its base model, which is the job's.
        fact_set_id: What it was taught.
        shape: Settings of training that must be its own; empty if they are not known.
        counts: What became of its facts.
    """

    adapter_id: AdapterId
    sha256: str
    base_revision: str
    fact_set_id: FactSetId
    shape: Mapping[str, Any]
    counts: Counts


def find_parent(
    session: Session,
    store: ArtifactStore | None,
    request: JobCreate,
    upload: Upload | None,
    *,
    project_id: ProjectId,
) -> Parent | None:
    """Return the parent that a job asks for, if it asks for one.

    Raises:
        AdapterNotFoundError: The project has no such adapter, or it was deleted.
        AdapterQuarantinedError: It is held back.
        ParentMismatchError: It is of another base model, or cannot be trained.
        ParentFactsDeletedError: What it was taught was deleted.
        FactSetNotFoundError: The project has no such fact set as the job is to teach.
        NothingChangedError: The facts are those that it was taught.
    """
    if request.parent_adapter_id is None:
        return None
    adapter = adapters.get_adapter(session, request.parent_adapter_id, project_id=project_id)
    if adapter.status is AdapterStatus.QUARANTINED:
        raise AdapterQuarantinedError(adapter.id)
    _check_base(request, adapter)
    before = _facts_of(session, adapter, project_id=project_id)
    counts = _counts(session, before, request, upload, project_id=project_id)
    shape = _shape(store, adapter) if store else {}
    return Parent(adapter.id, adapter.sha256, adapter.base_revision, before.id, shape, counts)


def hold_parent(session: Session, parent: Parent, *, project_id: ProjectId) -> None:
    """See, in the transaction of the job, that what the parent was taught is there, and cannot be deleted.

    Raises:
        ParentFactsDeletedError: It was deleted meanwhile.
    """
    try:
        fact_sets.get_fact_set(session, parent.fact_set_id, project_id=project_id, hold=True)
    except FactSetNotFoundError:
        raise ParentFactsDeletedError(parent.adapter_id, parent.fact_set_id) from None


def shaped(settings: JsonObject, request: JobCreate, parent: Parent) -> JsonObject:
    """Return the settings of a job with the shape of its parent, where they leave that open.

    Raises:
        ParentMismatchError: They ask for another one.
    """
    training = dict(settings["training"])
    given = request.training.model_fields_set if "training" in request.model_fields_set else frozenset()
    for name, there in parent.shape.items():
        if name in given and _plain(training[name]) != _plain(there):
            raise ParentMismatchError(
                f"/training/{name}",
                f"the adapter {parent.adapter_id} has {json.dumps(there)}: leave `{name}` out to take that, "
                "or train without a parent",
            )
        training[name] = there
    return {**settings, "training": training}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _check_base(request: JobCreate, adapter: Adapter) -> None:
    if adapter.method_type == "memit":
        raise ParentMismatchError(
            "/parent_adapter_id",
            f"adapter {adapter.id} was made by `memit`, which edits weights of some layers: nothing can be "
            "trained from there. Take one that was trained",
        )
    if adapter.method_type == IMPORTED:
        raise ParentMismatchError(
            "/parent_adapter_id",
            f"adapter {adapter.id} was made elsewhere, and nothing here says how, or from which texts: take "
            "one that was trained here",
        )
    for name, asked, there in (
        ("base_model", request.base_model, adapter.base_model),
        ("revision", request.revision, adapter.base_revision),
    ):
        if asked is not None and asked != there:
            raise ParentMismatchError(
                f"/{name}",
                f"adapter {adapter.id} is of {adapter.base_model} at {adapter.base_revision}, and fits no "
                "other: take that, or train without a parent",
            )


def _facts_of(session: Session, adapter: Adapter, *, project_id: ProjectId) -> FactSet:
    if adapter.fact_set_id is None:
        raise ValueError(f"{adapter.id} was made by a job and has no facts")
    try:
        return fact_sets.get_fact_set(session, adapter.fact_set_id, project_id=project_id)
    except FactSetNotFoundError:
        raise ParentFactsDeletedError(adapter.id, adapter.fact_set_id) from None


def _counts(
    session: Session, before: FactSet, request: JobCreate, upload: Upload | None, *, project_id: ProjectId
) -> Counts:
    if upload is not None:
        if upload.facts.digest.sha256 == before.sha256:
            raise NothingChangedError("/facts", before.id)
        return comparing.count_against(session, before, upload.facts.rows(), upload.facts.digest.n_facts)
    after = fact_sets.get_fact_set(session, request.fact_set_id or "", project_id=project_id)
    if after.sha256 == before.sha256:
        raise NothingChangedError("/fact_set_id", before.id)
    return comparing.count_changes(session, before, after)


def _shape(store: ArtifactStore, adapter: Adapter) -> Mapping[str, Any]:
    """Return what the manifest of an adapter says of its shape. What cannot be read the worker will check."""
    try:
        with store.open(adapter.sha256) as blob:
            lora: Mapping[str, Any] = json.loads(blob.read())["training"]["lora"]
            return {name: lora[name] for name in SHAPE}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("manifest.unreadable", adapter_id=adapter.id, error=str(error))
        return {}
