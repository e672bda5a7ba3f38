"""Bringing the files of a stored adapter to a job that is about it."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Final

from app.storage import ArtifactStore, CorruptBlobError
from mixsd.errors import CorruptError, MixsdError
from mixsd.packaging import CONFIG, WEIGHTS

NEEDED: Final = (CONFIG, WEIGHTS)
"""What peft takes."""


class AdapterDeletedError(MixsdError):
    """The adapter that a job needs was deleted while it waited."""

    code: ClassVar[str] = "adapter_deleted"


def fetch_adapter(
    store: ArtifactStore,
    every: Mapping[str, str],
    folder: Path,
    what: str,
    *,
    needed: Collection[str] = (),
    if_there: Collection[str] = (),
) -> Mapping[str, str]:
    """Bring files of an adapter into `folder`. Returns names with digests.

    Args:
        store: Where they lie.
        every: The files that the adapter has, with their digests: none once it was deleted.
        folder: Where to.
        what: The adapter, as messages name it.
        needed: Files that it must have.
        if_there: Files that are brought as well, if it has them.

    Raises:
        AdapterDeletedError: There is no adapter any more.
        CorruptError: Its files are not in the store as they were, or one was never there.
    """
    if not every:
        raise AdapterDeletedError(f"{what} was deleted before the job was done")
    if missing := [name for name in needed if name not in every]:
        raise CorruptError(f"{what} has no {missing[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: every[name] for name in (*needed, *(name for name in if_there if name in every))}
    for name, digest in files.items():
        try:
            with store.open(digest) as blob, (folder / name).open("wb") as file:
                shutil.copyfileobj(blob, file)
        except (FileNotFoundError, CorruptBlobError) as error:
            raise CorruptError(f"{name} of {what} cannot be read: {error}") from None
    return files
