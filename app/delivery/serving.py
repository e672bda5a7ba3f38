"""Use case: how an engine serves an adapter."""

import json
from typing import Any, Final

from app.adapters import repository as adapters
from app.adapters.models import AdapterFile
from app.adapters.service import MANIFEST, refuse_held_back
from app.db.engine import Database
from app.delivery.engines import Engine, Served, plan_for
from app.delivery.schemas import ServePlan, ServeStep
from app.ids import AdapterId, ProjectId
from app.storage import ArtifactStore

CONFIG: Final = "adapter_config.json"


def how_to_serve(
    database: Database,
    store: ArtifactStore,
    *,
    project_id: ProjectId,
    adapter_id: AdapterId,
    engine: Engine,
) -> ServePlan:
    """Return how an engine serves an adapter, by the config and the manifest that it was stored with.

    Raises:
        AdapterNotFoundError: The project has no such adapter.
        AdapterQuarantinedError: Its files are held back.
        AdapterFileNotFoundError: It came without its config.
    """
    with database.read() as session:
        adapter = adapters.get_adapter(session, adapter_id, project_id=project_id)
        refuse_held_back(adapter)
        config = adapters.get_file(session, adapter.id, CONFIG)
        manifest = adapters.get_file(session, adapter.id, MANIFEST)
    base = _object(store, manifest).get("base_model") or {}
    served = Served(
        adapter_id=adapter.id,
        base_id=adapter.base_model,
        hub_id=base.get("hub_id"),
        revision=adapter.base_revision,
        config=_object(store, config),
    )
    plan = plan_for(engine, served)
    return ServePlan(
        adapter_id=adapter.id,
        engine=plan.engine,
        way=plan.way,
        problems=list(plan.problems),
        needs=list(plan.needs),
        steps=[ServeStep.model_validate(step) for step in plan.steps],
    )


def _object(store: ArtifactStore, file: AdapterFile) -> dict[str, Any]:
    with store.open(file.sha256) as blob:
        value = json.loads(blob.read())
    return value if isinstance(value, dict) else {}
