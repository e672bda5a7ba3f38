"""What can be said of a model before a job names it. A hub is asked briefly, and torch is not needed."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from sqlalchemy import column, select, table
from sqlalchemy.orm import Session

from app.base_models.schemas import ModelCheck, ModelChecked, ModelMemory, ModelProblem
from mixsd.config import LoraConfig
from mixsd.forecast.shape import Shape, kind_of, memory_of
from mixsd.models import looking, registry
from mixsd.models.calls import Hub

_JOBS: Final = table("jobs", column("base_model"), column("status"))
"""What this feature must know of the jobs, which lie above it."""
_LONGEST: Final = 128
_BATCH: Final = 12
"""Texts of a step, with the answers beside them."""
_DECODED: Final = 64
"""Questions that are asked side by side."""


def ran_here(session: Session, model_id: str) -> bool:
    """Say whether a job with a model has succeeded here, of whichever project."""
    statement = select(_JOBS.c.base_model).where(
        _JOBS.c.base_model == model_id, _JOBS.c.status == "succeeded"
    )
    return session.scalars(statement.limit(1)).one_or_none() is not None


def checked(
    request: ModelCheck, cache: Path, *, allowed: Collection[str], hub: Hub, device: str, ran: bool
) -> ModelChecked:
    """Say what is known of a model.

    Args:
        device: That of the setting.
        ran: Whether a job with it has succeeded here.
    """
    may, seen = looking.look(cache, request.model, request.revision, allowed=allowed, hub=hub)
    return ModelChecked(
        model=request.model,
        allowed=may,
        exists=seen.exists,
        gated=seen.gated,
        revision=seen.revision,
        licence=seen.licence,
        parameters=seen.parameters,
        bytes=seen.bytes,
        has_chat_template=seen.has_template,
        chat_template_sha256=seen.template_sha256,
        built_in=request.model in registry.BUILT_IN,
        on_disk=seen.on_disk,
        memory=_memory(seen.shape, kind_of(device)),
        fits=True if ran and may else None,
        problems=[ModelProblem.model_validate(trouble) for trouble in seen.troubles],
    )


def _memory(shape: Shape, device: str) -> ModelMemory | None:
    found = memory_of(
        shape,
        LoraConfig(),
        device=device,
        longest=_LONGEST,
        at_once=_BATCH * _LONGEST,
        cached=_DECODED * _LONGEST,
    )
    return None if found is None else ModelMemory.model_validate(found, from_attributes=True)
