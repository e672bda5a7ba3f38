"""HTTP face of base models."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from app.base_models import service
from app.base_models.schemas import ModelCheck, ModelChecked, ModelRead
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, SettingsDep
from app.web.paging import NameCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/models", tags=["models"], route_class=StrictRoute)

ModelId = Annotated[str, Path(description="A built-in id, or `owner/name`.", max_length=200)]


@router.get("", responses=problems(400))
def list_models(settings: SettingsDep, cut: NameCutDep) -> Page[ModelRead]:
    """List the base models that a job may name, by id."""
    models = service.list_models(settings.model_cache, cut, allowed=settings.allowed_models)
    return Page[ModelRead].of(models, cut)


@router.post("/check", responses=problems(400, 413, 415))
def check_model(
    body: ModelCheck, request: Request, database: DatabaseDep, settings: SettingsDep
) -> ModelChecked:
    """Look at a base model before a job names it: is it there, may it be used, does it fit. Fetches none."""
    return service.check_model(
        database,
        settings.model_cache,
        body,
        allowed=settings.allowed_models,
        hub=request.app.state.hub,
        device=settings.device,
    )


@router.get("/{model_id:path}", responses=problems(404))
def get_model(model_id: ModelId, settings: SettingsDep) -> ModelRead:
    """Read what is known of a base model."""
    return service.get_model(settings.model_cache, model_id, allowed=settings.allowed_models)
