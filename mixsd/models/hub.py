"""Models of a Hugging Face hub: safetensors and JSON, never code, pinned to a commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mixsd.durable import sha256_of_file
from mixsd.errors import (
    CorruptError,
    HubRefusedError,
    HubUnreachableError,
    LicenceRequiredError,
    ModelNotFoundError,
    UnsafeWeightsError,
)
from mixsd.models import check
from mixsd.models.calls import Hub, is_refusal, shown
from mixsd.progress import OnProgress, Progress

_TEXTS: Final = ("*.json", "*.jinja", "tokenizer.model")
_WEIGHTS: Final = ("model.safetensors", "model-*-of-*.safetensors")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    name: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Remote:
    """A model as the hub lists it, at one commit."""

    id: str
    commit: str
    licence: str
    texts: tuple[RemoteFile, ...]
    weights: tuple[RemoteFile, ...]


def look_up(hub: Hub, model_id: str, revision: str | None) -> Remote:
    """Ask what a branch, tag or commit holds.

    Raises:
        ModelNotFoundError: There is no such model or revision, or it is not to be had; the kind says why.
        UnsafeWeightsError: It has no weights in safetensors.
    """
    with _explained(model_id, revision):
        info = hub.info(model_id, revision=revision, files_metadata=True)
    files = [
        RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or ()
    ]
    weights = tuple(file for file in files if wanted(file.name, _WEIGHTS))
    if not weights:
        raise UnsafeWeightsError(f"{model_id} has no weights in safetensors, and no other format is read")
    card = info.card_data
    licence = (card.get("license") if card else None) or "unknown"
    texts = tuple(file for file in files if wanted(file.name, _TEXTS))
    return Remote(model_id, info.sha, licence, texts, weights)


def wanted(name: str, patterns: tuple[str, ...] = (*_TEXTS, *_WEIGHTS)) -> bool:
    """Tell whether a file is part of the model: subfolders hold other formats of it."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)


def download(hub: Hub, remote: Remote, folder: Path, on_progress: OnProgress) -> None:
    """Fetch the files: small ones first, so that a model that we refuse costs little.

    Raises:
        ModelError: The model may not or cannot be used.
        CorruptError: A file is not what the hub says.
    """
    total = sum(file.bytes for file in (*remote.texts, *remote.weights))
    done = 0
    for files, then in ((remote.texts, check.check_config), (remote.weights, check.weight_files)):
        for file in files:
            on_progress(Progress(done, total, "bytes"))
            with _explained(remote.id, remote.commit):
                hub.download(remote.id, file.name, revision=remote.commit, local_dir=folder)
            if file.sha256 and sha256_of_file(folder / file.name) != file.sha256:
                raise CorruptError(f"{file.name} of {remote.id} is not what the hub says: pull again")
            done += file.bytes
        then(folder)
    on_progress(Progress(done, total, "bytes"))


@contextmanager
def _explained(model_id: str, revision: str | None) -> Iterator[None]:
    hub = shown(constants.ENDPOINT)
    try:
        yield
    except GatedRepoError as error:
        raise LicenceRequiredError(
            f"{model_id} is gated: accept its licence at {hub}/{model_id}, then set HF_TOKEN of whoever did"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{model_id} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"there is no model {model_id} at {hub}, or it is private: check id and HF_TOKEN"
        ) from error
    except (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        httpx2.HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        if is_refusal(error):
            raise HubRefusedError(
                f"the hub at {hub} refuses to give {model_id}: see that HF_TOKEN is valid and may read it"
            ) from error
        raise HubUnreachableError(
            f"{model_id} is not on disk and the hub at {hub} cannot be reached: "
            "retry later, use a built-in model, or register a folder with `mixsd models add`"
        ) from error
