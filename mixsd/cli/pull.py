"""Fetches an adapter file by file: what is there already is kept, and every byte is checked."""

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mixsd.cli.client import Client, RefusedError, ServiceError, UnreachableError

PARTIAL: Final = ".partial"
RETRIES: Final = 5
"""How often a file is gone on with after the answer broke off without a byte."""

_PARTIAL_CONTENT: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416
_BLOCK: Final = 1 << 20

OnBytes = Callable[[int], None]
"""Is told how many bytes more there are."""


def pull(
    client: Client, adapter_id: str, folder: Path, *, on_bytes: OnBytes = lambda _: None
) -> list[dict[str, Any]]:
    """Fetch all files of an adapter into `folder`; see `pull_from`."""
    return pull_from(client, f"/adapters/{adapter_id}", folder, on_bytes=on_bytes)


def pull_from(
    client: Client, place: str, folder: Path, *, query: str = "", on_bytes: OnBytes = lambda _: None
) -> list[dict[str, Any]]:
    """Fetch all files of what lies at `place` into `folder`, which is complete or absent afterwards.

    Returns their list. What could not be finished stays beside it, in `folder.partial`, and is gone on
    with the next time.

    Args:
        query: Goes behind the address of each file.

    Raises:
        ServiceError: It cannot be had, or what came is not what the service lists.
        FileExistsError: There is something at `folder`.
    """
    if folder.exists():
        raise FileExistsError(17, "there is something already: name another folder with --to", str(folder))
    thing = client.read(place)
    files: list[dict[str, Any]] = client.read(f"{place}/files")["data"]
    _check_list(thing, files)
    partial = folder.with_name(folder.name + PARTIAL)
    for file in files:
        target = partial.joinpath(*_parts(file["path"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(client, f"{place}/files/{file['path']}{query}", target, file, on_bytes)
    _remove_others(partial, {partial.joinpath(*_parts(file["path"])) for file in files})
    partial.rename(folder)
    return files


def _check_list(thing: dict[str, Any], files: list[dict[str, Any]]) -> None:
    """See that the list of files is the one that the adapter or export is named by."""
    if not files:
        raise ServiceError(f"{thing['id']} has no files")
    manifest = [file["sha256"] for file in files if file["path"] == "manifest.json"]
    if manifest and manifest[0] != thing["sha256"]:
        raise ServiceError(f"{thing['id']} and its manifest do not go together")


def _parts(path: str) -> tuple[str, ...]:
    """Split the path of a file.

    Raises:
        ServiceError: It leads out of the folder.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ServiceError(f"the adapter has a file at {path!r}, which is no place within its folder")
    return parts


def _fetch(client: Client, url: str, target: Path, file: dict[str, Any], on_bytes: OnBytes) -> None:
    """Bring one file to its end, from where it is."""
    idle = 0
    have = target.stat().st_size if target.exists() else 0
    if have > file["bytes"]:
        target.unlink()
        have = 0
    on_bytes(have)
    while have < file["bytes"] or not target.exists():
        try:
            _go_on(client, url, target, have, file, on_bytes)
        except UnreachableError:
            idle += 1
            if idle > RETRIES:
                raise
        now = target.stat().st_size if target.exists() else 0
        idle = 0 if now > have else idle
        have = now
    if sha256_of(target) != file["sha256"]:
        on_bytes(-have)
        target.unlink()
        raise ServiceError(f"{file['path']} came with another content than the service lists: try again")


def _go_on(
    client: Client, url: str, target: Path, have: int, file: dict[str, Any], on_bytes: OnBytes
) -> None:
    tag = f'"{file["sha256"]}"'
    headers = {"Range": f"bytes={have}-", "If-Range": tag} if have else {}
    try:
        with client.stream(url, headers=headers | {"Accept-Encoding": "identity"}) as answer:
            goes_on = have > 0 and answer.status_code == _PARTIAL_CONTENT
            if not goes_on:
                on_bytes(-have)  # it sends everything, whatever was asked
            with target.open("ab" if goes_on else "wb") as out:
                left = file["bytes"] - (have if goes_on else 0)
                for block in answer.iter_bytes(_BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise ServiceError(f"{file['path']} is longer than the service lists")
                    out.write(block)
                    on_bytes(len(block))
            if left:
                raise UnreachableError(f"{file['path']} broke off {left} bytes before its end")
    except RefusedError as error:
        if error.status != _RANGE_NOT_SATISFIABLE:
            raise
        target.unlink(missing_ok=True)
        on_bytes(-have)


def sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    """Remove what an earlier try at another adapter left."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
