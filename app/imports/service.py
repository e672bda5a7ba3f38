"""Bringing an adapter in that was made elsewhere: all of it is checked before anything is stored."""

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final

import structlog
from sqlalchemy.orm import Session

from app.adapters import repository as adapters
from app.adapters.models import IMPORTED, Adapter, AdapterStatus
from app.adapters.schemas import AdapterRead
from app.adapters.service import CARD, MANIFEST
from app.base_models.catalogue import revision_for
from app.db.engine import Database
from app.fact_sets import repository as fact_sets
from app.ids import AdapterId, FactSetId, ProjectId, new_id
from app.imports.errors import BadAdapterError, ModelNotOnDiskError, UnsafeWeightsError
from app.imports.unpacking import CONFIG, WEIGHTS, Archive, unpack
from app.jobs.quotas import check_may_store
from app.projects import quotas
from app.projects.quotas import Quotas
from app.storage import ArtifactStore, StoredBlob, or_full
from mixsd import errors as library
from mixsd.models import looking, registry
from mixsd.models.lora_check import Lora, check_lora
from mixsd.models.registry import OnDisk, default_cache

log = structlog.get_logger(__name__)

_FILES: Final = (WEIGHTS, CONFIG, MANIFEST, CARD)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client says of an adapter beside sending it."""

    base_model: str
    revision: str | None = None
    fact_set_id: FactSetId | None = None
    label: str | None = None


def import_adapter(
    database: Database,
    store: ArtifactStore,
    file: BinaryIO,
    kind: Archive,
    wanted: Wanted,
    *,
    project_id: ProjectId,
    cache: Path | None,
    allowed: Collection[str],
    most_bytes: int,
    defaults: Quotas,
) -> AdapterRead:
    """Store the adapter of an archive. It is like any other then, but that nothing of it is measured.

    Raises:
        AppError: As `unpack` says of the archive.
        ModelNotAllowedError: There is no such base model here.
        ModelNotOnDiskError: Its files are not here.
        BadAdapterError: The adapter is no plain LoRA, or none of that model.
        UnsafeWeightsError: Its weights are no sound safetensors file.
        FactSetNotFoundError: The project has no such fact set.
        QuotaExceededError: The project has no room for it.
        StorageFullError: The disk has none.
    """
    base = _base(cache or default_cache(), wanted, allowed)
    with tempfile.TemporaryDirectory(prefix="mixsd-import-") as name, or_full(file.seek(0, os.SEEK_END)):
        folder = Path(name)
        unpack(file, kind, folder, most=most_bytes)
        lora = _checked(folder, base)
        with database.begin() as session:
            now = database.now(session)
            facts = _facts(session, wanted.fact_set_id, project_id)
        _describe(folder, base, lora, facts=facts, now=now)
        size = sum(path.stat().st_size for path in folder.iterdir())
        with database.begin() as session:  # before anything is put down
            _check_room(session, project_id, size, defaults)
        stored = {path: store.put(folder / path) for path in _FILES}  # in no transaction: it may take long
        with database.begin() as session:
            _facts(session, wanted.fact_set_id, project_id)
            _check_room(session, project_id, size, defaults)
            adapter = _row(stored, base, wanted, project_id=project_id, now=now)
            adapters.add_adapter(session, adapter, stored, now=now)
            shown = AdapterRead.model_validate(adapter)
    log.info("adapter.imported", adapter_id=shown.id, base_model=base.id, rank=lora.rank)
    return shown


def _base(cache: Path, wanted: Wanted, allowed: Collection[str]) -> OnDisk:
    """Find the base model on this machine."""
    revision = revision_for(wanted.base_model, wanted.revision, allowed=allowed)
    found = registry.find(cache, wanted.base_model, revision)
    if found is None:
        raise ModelNotOnDiskError(wanted.base_model)
    return found


def _checked(folder: Path, base: OnDisk) -> Lora:
    hub_id = base.card.get("hub_id")
    names = [base.id, *([hub_id] if isinstance(hub_id, str) else [])]
    try:
        return check_lora(folder, base.folder, names=names)
    except library.UnsafeWeightsError as error:
        raise UnsafeWeightsError(str(error)) from error
    except library.ModelError as error:
        raise BadAdapterError(str(error)) from error


def _facts(session: Session, fact_set_id: FactSetId | None, project_id: ProjectId) -> dict[str, Any] | None:
    """Return what the manifest says of the facts that the adapter is said to know."""
    if fact_set_id is None:
        return None
    found = fact_sets.get_fact_set(session, fact_set_id, project_id=project_id, hold=True)
    return {"n": found.n_facts, "sha256": found.sha256}


def _describe(folder: Path, base: OnDisk, lora: Lora, *, facts: dict[str, Any] | None, now: datetime) -> None:
    """Write what others read of an adapter: settings for peft, manifest and card."""
    sent = hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
    name = base.card.get("hub_id") or base.id
    _write(folder / CONFIG, {**lora.config, "base_model_name_or_path": name})
    card = _CARD.format(base=name, rank=lora.rank, modules=len(lora.modules))
    (folder / CARD).write_text(card, encoding="utf-8")
    digests = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    manifest = {
        "base_model": {
            "id": base.id,
            "hub_id": base.card.get("hub_id"),
            "revision": base.revision,
            "licence": str(base.card.get("licence", "unknown")),
            "template_sha256": looking.template_seen(base.folder)["template_sha256"],
        },
        "method": {"type": IMPORTED, "adapter_config_sha256": sent},
        "training": {},
        "evaluation": {},
        "facts": facts,
        "files": digests,
        "versions": {"mixsd": version("mixsd")},
        "figures": {},
        "created_at": now.isoformat(),
    }
    _write(folder / MANIFEST, manifest)


def _check_room(session: Session, project_id: ProjectId, size: int, defaults: Quotas) -> None:
    check_may_store(session, project_id, quotas.of_project(session, project_id, defaults), size)


def _row(
    stored: Mapping[str, StoredBlob], base: OnDisk, wanted: Wanted, *, project_id: ProjectId, now: datetime
) -> Adapter:
    return Adapter(
        id=AdapterId(new_id("adp", now=now)),
        project_id=project_id,
        job_id=None,
        fact_set_id=wanted.fact_set_id,
        variant=0,
        label=wanted.label,
        recommended=True,
        status=AdapterStatus.READY,
        base_model=base.id,
        base_revision=base.revision,
        method_type=IMPORTED,
        sha256=stored[MANIFEST].sha256,
        bytes=sum(blob.bytes for blob in stored.values()),
        summary={},
        created_at=now,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


_CARD: Final = """\
---
base_model: {base}
library_name: peft
---

# An adapter of {base}

It was made elsewhere and brought in: a LoRA of rank {rank} on {modules} layers.
What it was taught, and what came of that, is not known here.
"""
