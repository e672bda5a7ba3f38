"""The form of a backup: its manifest, the list of its files, and how rows are written."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Table

from app.db.base import UtcDateTime
from app.jobs.models import Worker
from app.tables import Base
from mixsd.durable import sha256_of_file
from worker.backup.errors import BackupDamagedError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
FILES: Final = "files.jsonl"
ROWS: Final = "rows"
ARTIFACTS: Final = "artifacts"
WORK: Final = "work"

_LEFT_OUT: Final = frozenset({Worker.__tablename__})
"""Who runs at the moment."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is. `rows` says how many of each table, `missing` which files were not to be had."""

    product: str
    revision: str
    created_at: str
    database: str
    rows: Mapping[str, int]
    files: int
    bytes: int
    files_sha256: str
    missing: list[str]
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        body = asdict(self)
        (folder / MANIFEST).write_text(json.dumps({**body, "sha256": _digest_of(body)}, indent=2))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            BackupDamagedError: There is none, or not as it was written.
        """
        try:
            body: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
            digest = body.pop("sha256")
            if digest != _digest_of(body):
                raise BackupDamagedError(f"{folder / MANIFEST} was changed: use another backup")
            return cls(**body)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupDamagedError(
                f"{folder} is no backup, or its {MANIFEST} is damaged: name a folder that `mixsd backup` made"
            ) from error


def _digest_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def tables() -> list[Table]:
    """Return the tables that are kept, each behind those that it refers to."""
    return [table for table in Base.metadata.sorted_tables if table.name not in _LEFT_OUT]


def to_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a backup")


def rows_of(folder: Path, table: Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as they were."""
    instants = [column.key for column in table.columns if isinstance(column.type, UtcDateTime)]
    with (folder / ROWS / f"{table.name}.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            for name in instants:
                row[name] = row[name] and datetime.fromisoformat(row[name])
            yield row


def list_files(folder: Path) -> tuple[int, int, str]:
    """Write down every file with its digest. Returns how many, their bytes, and the digest of the list."""
    count = size = 0
    with (folder / FILES).open("w", encoding="utf-8") as out:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILES):
            known = {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size}
            out.write(json.dumps({**known, "sha256": sha256_of_file(path)}) + "\n")
            count, size = count + 1, size + known["bytes"]  # type: ignore[operator]
    return count, size, sha256_of_file(folder / FILES)


def verify(folder: Path) -> Manifest:
    """Read all of a backup, and compare it with its manifest.

    Raises:
        BackupDamagedError: A file is missing, changed or too many.
    """
    manifest = Manifest.read(folder)
    listed: set[str] = set()
    try:
        if sha256_of_file(folder / FILES) != manifest.files_sha256:
            raise BackupDamagedError(f"{folder / FILES} was changed: use another backup")
        for line in (folder / FILES).read_text(encoding="utf-8").splitlines():
            file = json.loads(line)
            listed.add(file["path"])
            if sha256_of_file(folder / file["path"]) != file["sha256"]:
                raise BackupDamagedError(f"{folder / file['path']} was changed: use another backup")
    except OSError as error:
        raise BackupDamagedError(f"{folder} is not complete: {error}. Use another backup") from error
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if more := there - listed - {MANIFEST, FILES}:
        raise BackupDamagedError(f"{folder} has a file that is not its own: {min(more)}. Use another backup")
    return manifest
