"""What phases have made, kept for attempts to come: files in the artifact store, by their digests."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from app.jobs.states import Phase
from app.storage import ArtifactStore, CorruptBlobError
from worker.control import Control

_OBJECT: Final = "result"
"""The name of what is no file of an adapter."""


class Results:
    """The results of a job: of whole phases, and of the variant that is under way within one."""

    def __init__(self, control: Control, store: ArtifactStore) -> None:
        self._control = control
        self._store = store

    def end(self, phase: Phase, body: Mapping[str, Any]) -> None:
        """End a phase with its result."""
        self._control.leave(phase, self._put(body))

    def of(self, phase: Phase, digest: str) -> Any | None:
        """Return the result of a phase that was finished before with this input."""
        output = self._control.finished(phase, digest)
        return None if output is None else self._read(phase, output)

    def keep(
        self, phase: Phase, digest: str, body: Mapping[str, Any], files: Mapping[str, str] | None = None
    ) -> None:
        """Keep what a phase made for a variant: an object, and files that are stored already."""
        self._control.keep(phase, digest, {_OBJECT: self._put(body), **(files or {})})

    def kept(self, phase: Phase, digest: str) -> tuple[Any, dict[str, str]] | None:
        """Return what a phase made for a variant, if it did with this input: the object, and the files."""
        files = self._control.kept(phase, digest)
        if _OBJECT not in files:
            return None
        body = self._read(phase, files.pop(_OBJECT))
        return None if body is None else (body, files)

    def fetch(self, phase: Phase, files: Mapping[str, str], folder: Path) -> bool:
        """Bring files of an earlier attempt back; say whether all of them were there."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, digest in files.items():
                with self._store.open(digest) as blob, (folder / name).open("wb") as file:
                    shutil.copyfileobj(blob, file)
        except (FileNotFoundError, CorruptBlobError) as error:
            self._control.warning(f"{phase} is done again: its result cannot be read ({error})")
            shutil.rmtree(folder)
            return False
        return True

    def _put(self, body: Mapping[str, Any]) -> str:
        return self._store.put_bytes(json.dumps(body, sort_keys=True).encode()).sha256

    def _read(self, phase: Phase, sha256: str) -> Any | None:
        try:
            with self._store.open(sha256) as blob:
                return json.loads(blob.read())
        except (FileNotFoundError, CorruptBlobError) as error:
            self._control.warning(f"{phase} is done again: its result cannot be read ({error})")
            return None
