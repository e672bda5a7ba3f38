"""Use cases on models: base models, and the project's adapters, in one list."""

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Row, Select, select

from app.adapters.errors import AdapterNotFoundError
from app.adapters.models import Adapter, AdapterStatus
from app.base_models import catalogue
from app.base_models.errors import ModelNotFoundError
from app.base_models.schemas import ModelRead
from app.db.engine import Database
from app.ids import AdapterId, ProjectId
from app.inference import service as inference
from app.inference.wire import AskedAdapter, AskedBase
from app.openai.errors import BaseModelStaysError, ModelUnavailableError, UnknownModelError
from app.openai.model_schemas import OpenAIModel
from app.releases import service as releases

_ADAPTER: Final = "adp_"
_CHECKPOINT: Final = "ckpt_"
_OURS: Final = "mixsd"


def list_models(
    database: Database, cache: Path, *, project_id: ProjectId, allowed: Collection[str]
) -> Sequence[OpenAIModel]:
    """Return the base models by id, then the project's adapters, the newest first."""
    bases = [_of_base(model) for model in catalogue.list_models(cache, allowed=allowed)]
    with database.read() as session:
        rows = session.execute(_adapters(project_id).order_by(Adapter.id.desc())).all()
    return [*bases, *(_of_adapter(row, project_id) for row in rows)]


def get_model(
    database: Database, cache: Path, model_id: str, *, project_id: ProjectId, allowed: Collection[str]
) -> OpenAIModel:
    """Return what is known of a model.

    Raises:
        UnknownModelError: There is none that the project may ask or train.
    """
    if not model_id.startswith(_ADAPTER):
        return _of_base(_base(cache, model_id, allowed))
    with database.read() as session:
        row = session.execute(_adapters(project_id).where(Adapter.id == model_id)).one_or_none()
    if row is None:
        raise _unknown(model_id)
    return _of_adapter(row, project_id)


def delete_model(
    database: Database, cache: Path, model_id: str, *, project_id: ProjectId, allowed: Collection[str]
) -> None:
    """Delete an adapter.

    Raises:
        UnknownModelError: There is no such model.
        BaseModelStaysError: It is a base model.
    """
    if not model_id.startswith(_ADAPTER):
        raise BaseModelStaysError(_base(cache, model_id, allowed).id)
    try:
        releases.delete_adapter(database, project_id=project_id, adapter_id=AdapterId(model_id))
    except AdapterNotFoundError:
        raise _unknown(model_id) from None


def asked_model(
    database: Database, cache: Path, model_id: str, *, project_id: ProjectId, allowed: Collection[str]
) -> AskedAdapter | AskedBase:
    """Return what the inference process is told of a model.

    Raises:
        UnknownModelError: There is none that the project may ask.
        AdapterQuarantinedError: It is held back.
        ModelUnavailableError: It is a base model that is not on disk.
    """
    if model_id.startswith(_ADAPTER):
        try:
            return inference.asked_adapter(database, project_id=project_id, adapter_id=AdapterId(model_id))
        except AdapterNotFoundError:
            raise _unknown(model_id) from None
    base = _base(cache, model_id, allowed)
    if not base.on_disk:
        raise ModelUnavailableError(base.id)
    return AskedBase(base_model=base.id, base_revision=base.revision)


def _base(cache: Path, model_id: str, allowed: Collection[str]) -> ModelRead:
    try:
        return catalogue.get_model(cache, model_id, allowed=allowed)
    except ModelNotFoundError:
        raise _unknown(model_id) from None


def _unknown(model_id: str) -> UnknownModelError:
    shown = repr(model_id[:60].encode(errors="replace").decode())
    if model_id.startswith(_CHECKPOINT):
        return UnknownModelError(f"{shown} is a checkpoint: a job can go on from it, and it cannot be asked")
    return UnknownModelError(f"there is no model {shown} here: GET /openai/v1/models lists them")


def _adapters(project_id: ProjectId) -> Select[AdapterId, str, AdapterStatus, datetime]:
    return select(Adapter.id, Adapter.base_model, Adapter.status, Adapter.created_at).where(
        Adapter.project_id == project_id, Adapter.status != AdapterStatus.DELETED
    )


def _of_adapter(row: Row[AdapterId, str, AdapterStatus, datetime], project_id: ProjectId) -> OpenAIModel:
    return OpenAIModel(
        id=row.id,
        object="model",
        created=int(row.created_at.timestamp()),
        owned_by=project_id,
        parent=row.base_model,
        status="quarantined" if row.status is AdapterStatus.QUARANTINED else "ready",
    )


def _of_base(model: ModelRead) -> OpenAIModel:
    owner, is_owned, _ = model.id.partition("/")
    return OpenAIModel(
        id=model.id,
        object="model",
        created=0,
        owned_by=owner if is_owned else _OURS,
        parent=None,
        status="ready" if model.on_disk else "not_on_disk",
    )
