"""Use cases on base models. There is no table: registry, cache folder and hub say what there is."""

from collections.abc import Collection, Sequence
from pathlib import Path

from app.base_models import catalogue, checking
from app.base_models.schemas import ModelCheck, ModelChecked, ModelRead
from app.db.engine import Database
from app.db.lists import Cut
from mixsd.models.calls import Hub
from mixsd.models.registry import default_cache


def cache_of(cache: Path | None) -> Path:
    """Return the folder of base models, where the setting may name none."""
    return cache or default_cache()


def list_models(cache: Path | None, cut: Cut[str], *, allowed: Collection[str]) -> Sequence[ModelRead]:
    """Return the models behind the cut, one more than asked for if more follow."""
    models = catalogue.list_models(cache or default_cache(), allowed=allowed)
    return [model for model in models if model.id > (cut.after or "")][: cut.limit + 1]


def get_model(cache: Path | None, model_id: str, *, allowed: Collection[str]) -> ModelRead:
    return catalogue.get_model(cache or default_cache(), model_id, allowed=allowed)


def check_model(
    database: Database,
    cache: Path | None,
    request: ModelCheck,
    *,
    allowed: Collection[str],
    hub: Hub,
    device: str,
) -> ModelChecked:
    """Say what is known of a model. The hub is asked outside of any transaction."""
    with database.read() as session:
        ran = checking.ran_here(session, request.model)
    return checking.checked(
        request, cache or default_cache(), allowed=allowed, hub=hub, device=device, ran=ran
    )
