"""What can be said of a model before it is used: on disk, built in, or by asking the hub, briefly.

Nothing here loads torch, and nothing raises for what a hub says: that is what was asked for. Messages
hold no token and no answer of the hub.
"""

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mixsd.errors import ModelError, ModelNotAllowedError
from mixsd.forecast.chat import template_of
from mixsd.forecast.shape import Shape, shape_of
from mixsd.models import registry
from mixsd.models.calls import Hub, is_refusal, shown
from mixsd.models.registry import BUILT_IN, BuiltIn, OnDisk

SECONDS: Final = 5.0
"""How long each question to the hub may take."""
_TEXTS: Final = ("config.json", "tokenizer_config.json", "chat_template.jinja")
_LARGEST: Final = 2_000_000
"""Bytes of a file of settings that is fetched to look into it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something for which a job with the model would fail. `code` is stable."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a model. What is not is None.

    Attributes:
        revision: The commit that it was asked at, or the one on disk.
        gated: Whether its licence must be accepted.
        bytes: Of what is fetched, or of the weights on disk.
    """

    exists: bool | None = None
    gated: bool | None = None
    revision: str | None = None
    licence: str | None = None
    parameters: int | None = None
    bytes: int | None = None
    has_template: bool | None = None
    template_sha256: str | None = None
    on_disk: bool = False
    shape: Shape = field(default_factory=Shape)
    troubles: tuple[Trouble, ...] = ()


def look(
    cache: Path, model_id: str, revision: str | None, *, allowed: Collection[str], hub: Hub
) -> tuple[bool, Seen]:
    """Return whether a job may name a model, and what is known of it.

    A hub is not asked for a model that may not be named: the operator's token opens more than that.
    """
    try:
        registry.check_id(model_id)
        if revision is not None:
            registry.check_revision(revision)
    except ModelNotAllowedError as error:
        return False, Seen(troubles=(Trouble("bad_name", str(error)),))
    try:
        registry.check_id(model_id, allowed)
    except ModelNotAllowedError as error:
        return False, Seen(troubles=(Trouble("model_not_allowed", str(error)),))
    built_in = BUILT_IN.get(model_id)
    if built_in is not None:
        return True, _of_built_in(cache, built_in, revision)
    found = registry.find(cache, model_id, revision)
    return True, of_disk(found) if found is not None else _asked(hub, model_id, revision)


def of_disk(found: OnDisk) -> Seen:
    """Return what is known of a model that was checked when it came to disk."""
    shape = shape_of(found.folder, found.card)
    licence = found.card.get("licence")
    return Seen(
        exists=True,
        revision=found.revision,
        licence=licence if isinstance(licence, str) else None,
        parameters=shape.parameters,
        bytes=shape.bytes,
        on_disk=True,
        shape=shape,
        **template_seen(found.folder),
    )


def template_seen(folder: Path) -> dict[str, Any]:
    """Return whether a folder holds a chat template, and its digest: that of `mixsd.models.load.Base`."""
    try:
        template = template_of(folder)
    except (ModelError, OSError, UnicodeDecodeError):
        template = None
    digest = hashlib.sha256(template.encode()).hexdigest() if template else None
    return {"has_template": template is not None, "template_sha256": digest}


def _of_built_in(cache: Path, model: BuiltIn, revision: str | None) -> Seen:
    if revision not in {None, model.revision}:
        detail = f"{model.id} is there in revision {model.revision} only: name that, or none"
        return Seen(exists=True, gated=False, troubles=(Trouble("revision_not_found", detail),))
    found = registry.find(cache, model.id, model.revision)
    known: dict[str, Any] = {"gated": False, "licence": model.licence, "parameters": model.parameters}
    if found is not None:
        return replace(of_disk(found), **known)
    return Seen(
        exists=True,
        revision=model.revision,
        bytes=model.bytes,
        has_template=True,
        shape=Shape(parameters=model.parameters),
        **known,
    )


def _asked(hub: Hub, model_id: str, revision: str | None) -> Seen:
    place, seen = f"{shown(constants.ENDPOINT)}/{model_id}", Seen()
    try:
        info = hub.info(model_id, revision=revision, files_metadata=True, timeout=SECONDS)
        seen = _listed(info)
        with tempfile.TemporaryDirectory() as folder:
            for name in _seen_files(info):
                hub.download(model_id, name, revision=info.sha, local_dir=Path(folder), etag_timeout=SECONDS)
            return _looked_into(seen, Path(folder), info)
    except GatedRepoError:
        detail = f"its licence must be accepted first: do so at {place}, then set HF_TOKEN for the workers"
        return replace(seen, exists=True, gated=True, troubles=(*seen.troubles, Trouble("gated", detail)))
    except RevisionNotFoundError:
        detail = f"{model_id} has no revision {revision}"
        return Seen(exists=True, troubles=(Trouble("revision_not_found", detail),))
    except RepositoryNotFoundError:
        detail = f"there is no model at {place}, or it is private: check the id and HF_TOKEN"
        return Seen(exists=False, troubles=(Trouble("model_not_found", detail),))
    except HFValidationError:
        return Seen(troubles=(Trouble("bad_name", f"{model_id} is no model id that the hub takes"),))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        return replace(seen, troubles=(*seen.troubles, _silence(error, model_id)))


def _silence(error: Exception, model_id: str) -> Trouble:
    """Say why the hub told nothing, or not all."""
    hub = shown(constants.ENDPOINT)
    if is_refusal(error):
        detail = f"the hub refuses to show {hub}/{model_id}: see that HF_TOKEN is valid and may read it"
        return Trouble("hub_refused", detail)
    detail = (
        f"{model_id} is not on disk and the hub at {hub} did not answer: ask again later, use a built-in "
        "model, or register a folder with `mixsd models add`"
    )
    return Trouble("hub_unreachable", detail)


def _seen_files(info: Any) -> Sequence[str]:
    """Return the files of a listing that are looked into: small ones with settings."""
    return [
        file.rfilename
        for file in info.siblings or ()
        if file.rfilename in _TEXTS and (file.size or 0) <= _LARGEST
    ]


def _listed(info: Any) -> Seen:
    """Return what the hub's listing says."""
    card = getattr(info, "card_data", None)
    counted = getattr(info, "safetensors", None)
    gated = getattr(info, "gated", None)
    weights = [file.size or 0 for file in info.siblings or () if _is_weights(file.rfilename)]
    troubles = []
    if not weights:
        detail = "it has no weights in safetensors, and no other format is read"
        troubles.append(Trouble("unsafe_weights", detail))
    if not any(file.rfilename == "tokenizer.json" for file in info.siblings or ()):
        troubles.append(Trouble("no_fast_tokenizer", "there is no fast tokenizer (tokenizer.json)"))
    return Seen(
        exists=True,
        gated=None if gated is None else bool(gated),
        revision=info.sha,
        licence=(card.get("license") if card else None) or "unknown",
        parameters=getattr(counted, "total", None),
        bytes=sum(weights) or None,
        troubles=tuple(troubles),
    )


def _is_weights(name: str) -> bool:
    return "/" not in name and name.startswith("model") and name.endswith(".safetensors")


def _looked_into(seen: Seen, folder: Path, info: Any) -> Seen:
    """Add what the settings of a model say, as `mixsd.models.check` will judge it."""
    config, tokenizer = _object(folder / "config.json"), _object(folder / "tokenizer_config.json")
    template = template_seen(folder)
    troubles = list(seen.troubles)
    if not config:
        troubles.append(Trouble("bad_model", "config.json is missing or is no JSON object"))
    if config.get("auto_map") or tokenizer.get("auto_map"):
        detail = "the model brings its own code (`auto_map`), which is never run here"
        troubles.append(Trouble("remote_code", detail))
    if config.get("quantization_config"):
        troubles.append(Trouble("quantised", "the model is quantised: use the one in full precision"))
    if not template["has_template"]:
        detail = "the tokenizer has no chat template: use the instruction-tuned model"
        troubles.append(Trouble("no_chat_template", detail))
    shape = shape_of(folder, {"parameters": seen.parameters})
    shape = replace(shape, bytes=seen.bytes)
    return replace(seen, shape=shape, troubles=tuple(troubles), **template)


def _object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}
