"""Which base models there are: built in, allowed by the operator, or lying on disk."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from app.base_models.errors import ModelNotAllowedError, ModelNotFoundError
from app.base_models.schemas import ModelRead
from mixsd import errors as library
from mixsd.models import looking, registry
from mixsd.models.registry import BuiltIn, OnDisk

ANY_MODEL = "*"


def revision_for(model_id: str, revision: str | None, *, allowed: Collection[str]) -> str | None:
    """Check the model that a job names, and return the revision to pin: None takes the newest.

    Raises:
        ModelNotAllowedError: There is no such model here, or not in that revision.
    """
    try:
        registry.check_id(model_id, allowed)
    except library.ModelNotAllowedError as error:
        raise ModelNotAllowedError(str(error), "/base_model") from None
    built_in = registry.BUILT_IN.get(model_id)
    if revision is None:
        return built_in.revision if built_in else None
    try:
        registry.check_revision(revision)
    except library.ModelNotAllowedError as error:
        raise ModelNotAllowedError(str(error), "/revision") from None
    if built_in is not None and revision != built_in.revision:
        raise ModelNotAllowedError(f"{model_id} is there in revision {built_in.revision} only", "/revision")
    return revision


def list_models(cache: Path, *, allowed: Collection[str]) -> list[ModelRead]:
    """Return the models that a job may name, by id. With `*` those on disk stand for any."""
    there = {model.id: model for model in sorted(registry.on_disk(cache), key=_pulled_at)}
    named = {name for name in allowed if name != ANY_MODEL}
    found = there.keys() if ANY_MODEL in allowed else there.keys() & named
    return [_read(name, there.get(name)) for name in sorted({*registry.BUILT_IN, *named, *found})]


def get_model(cache: Path, model_id: str, *, allowed: Collection[str]) -> ModelRead:
    """Return what is known of a model that a job may name.

    Raises:
        ModelNotFoundError: A job may not name it.
    """
    try:
        registry.check_id(model_id, allowed)
    except library.ModelNotAllowedError as error:
        raise ModelNotFoundError(str(error)) from None
    built_in = registry.BUILT_IN.get(model_id)
    return _read(model_id, registry.find(cache, model_id, built_in.revision if built_in else None))


def _read(model_id: str, there: OnDisk | None) -> ModelRead:
    built_in = registry.BUILT_IN.get(model_id)
    if built_in is not None:
        return _built_in(
            built_in, there if there is not None and there.revision == built_in.revision else None
        )
    return ModelRead(
        id=model_id,
        revision=there.revision if there else None,
        licence=_of_card(there, "licence", str),
        parameters=_of_card(there, "parameters", int),
        bytes=_of_card(there, "bytes", int),
        built_in=False,
        on_disk=there is not None,
        chat_template_sha256=_template(there),
    )


def _built_in(model: BuiltIn, there: OnDisk | None) -> ModelRead:
    return ModelRead(
        id=model.id,
        revision=model.revision,
        licence=model.licence,
        parameters=model.parameters,
        bytes=model.bytes,
        built_in=True,
        on_disk=there is not None,
        chat_template_sha256=_template(there),
    )


def _template(there: OnDisk | None) -> str | None:
    return None if there is None else looking.template_seen(there.folder)["template_sha256"]


def _of_card(there: OnDisk | None, name: str, kind: type[Any]) -> Any:
    """Return what the model's card says, if it says it: cards are written by other programs too."""
    value = there.card.get(name) if there is not None else None
    return value if isinstance(value, kind) else None


def _pulled_at(model: OnDisk) -> str:
    return str(model.card.get("pulled_at", ""))
