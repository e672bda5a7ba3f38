"""HTTP face of models: parse, call one use case, answer. No rules live here."""

from typing import Annotated

from fastapi import Path

from app.openai import model_service as service
from app.openai.model_schemas import OpenAIModel, OpenAIModelDeleted, OpenAIModels
from app.openai.routing import CacheDep, router_of
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep
from app.web.openai_errors import openai_errors

router = router_of("/models", "models")

Model = Annotated[str, Path(description="A base model, or the id of an adapter.", max_length=200)]


@router.get("")
def openai_list_models(
    project_id: ProjectDep, database: DatabaseDep, settings: SettingsDep, cache: CacheDep
) -> OpenAIModels:
    """List base models and the project's adapters."""
    allowed = settings.allowed_models
    found = service.list_models(database, cache, project_id=project_id, allowed=allowed)
    return OpenAIModels(object="list", data=list(found))


@router.get("/{model:path}", responses=openai_errors(404))
def openai_get_model(
    model: Model, project_id: ProjectDep, database: DatabaseDep, settings: SettingsDep, cache: CacheDep
) -> OpenAIModel:
    """Read what is known of a model."""
    allowed = settings.allowed_models
    return service.get_model(database, cache, model, project_id=project_id, allowed=allowed)


@router.delete("/{model:path}", responses=openai_errors(404))
def openai_delete_model(
    model: Model, project_id: ProjectDep, database: DatabaseDep, settings: SettingsDep, cache: CacheDep
) -> OpenAIModelDeleted:
    """Delete an adapter. Base models stay."""
    service.delete_model(database, cache, model, project_id=project_id, allowed=settings.allowed_models)
    return OpenAIModelDeleted(id=model, object="model", deleted=True)
