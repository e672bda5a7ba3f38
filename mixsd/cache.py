"""Supervision kept for later runs: one SQLite file that any number of processes share.

A record depends on its fact and on the settings alone, so one that was made before is as good
as a new one. What a key stands for is said by `mixsd.cache_key`. The cache only saves time: a
file that cannot be used is passed over with a warning and never fails a run. Nothing here loads
torch.
"""

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mixsd.supervision import Supervision

FILE: Final = "supervision.sqlite"
"""Its name in the folder of base models."""

MAX_BYTES: Final = 1_000_000_000
"""Room for roughly half a million short texts."""

log = logging.getLogger(__name__)

_PATIENCE: Final = 5.0
_LOG_BYTES: Final = 4_000_000
_EVICTED_AT_ONCE: Final = 64
_APPLICATION: Final = 0x4D785344
"""Marks a file as ours: "MxSD"."""

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS supervision"
    " (key TEXT PRIMARY KEY, line BLOB NOT NULL, sha256 BLOB NOT NULL, used INTEGER NOT NULL)"
)
_INDEX: Final = "CREATE INDEX IF NOT EXISTS supervision_used ON supervision (used)"
_GET: Final = "SELECT key, line, sha256 FROM supervision WHERE key IN (SELECT value FROM json_each(?))"
_TOUCH: Final = (
    "UPDATE supervision SET used = (SELECT max(used) + 1 FROM supervision)"
    " WHERE key IN (SELECT value FROM json_each(?))"
)
_REMOVE: Final = "DELETE FROM supervision WHERE key IN (SELECT value FROM json_each(?))"
_PUT: Final = (
    "INSERT OR REPLACE INTO supervision"
    " VALUES (?, ?, ?, (SELECT coalesce(max(used), 0) + 1 FROM supervision))"
)
_EVICT: Final = "DELETE FROM supervision WHERE key IN (SELECT key FROM supervision ORDER BY used LIMIT ?)"
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SupervisionCache:
    """Records by key. Raises nothing: what fails is warned about, and the run goes on without it.

    A corrupt file is moved aside and begun anew. After any other failure, such as a disk that is
    full, read-only or locked by somebody else, every further call finds nothing and keeps nothing.
    A database of something else is left alone.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, patience: float = _PATIENCE) -> None:
        """Name the file. It is opened, or made, when it is first used.

        Args:
            max_bytes: Bound of the file; the records used least recently make room for new ones.
                SQLite's log beside it takes some megabytes more.
            patience: Seconds to wait for a process that holds the file.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._patience = patience
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._renewed = False
        self._off = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. Later calls find nothing and keep nothing."""
        self._off = True
        self._disconnect()

    def get_many(self, keys: Collection[str]) -> dict[str, Supervision]:
        """Return the records that are there, in the order asked. A row with a wrong checksum is removed."""
        found: dict[str, Supervision] = {}
        with self._optional():
            if self._off or not keys:
                return found
            database = self._connection()
            rows = database.execute(_GET, (json.dumps(list(keys)),)).fetchall()
            bad = []
            for key, line, digest in rows:
                if (record := _read(key, line, digest)) is None:
                    bad.append(key)
                else:
                    found[key] = record
            if rows:
                _mark(database, found, bad)
        return {key: found[key] for key in keys if key in found}

    def put_many(self, pairs: Iterable[tuple[str, Supervision]]) -> None:
        """Keep records under their keys."""
        rows = []
        for key, record in pairs:
            line = record.to_line().encode()
            rows.append((key, line, _checksum(key, line)))
        with self._optional():
            if self._off or not rows:
                return
            with self._connection() as database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(_PUT, rows)
                evicted = self._evict(database)
            if evicted:
                database.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page

    # -- inside

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = self._open()
        return self._database

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._patience
        while True:
            database = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None)
            self._file = _identity(self._path)
            try:
                _set_up(database)
            except sqlite3.Error as error:
                database.close()
                # Where another process sets the file up, SQLite gives up at once.
                if _primary(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return database

    def _evict(self, database: sqlite3.Connection) -> int:
        """Make room down to nine tenths of the bound, so that not every call has to; count the rows."""
        evicted = 0
        if _bytes_in_use(database) > self._max_bytes:
            while _bytes_in_use(database) > self._max_bytes * 0.9:
                rows = database.execute(_EVICT, (_EVICTED_AT_ONCE,)).rowcount
                if not rows:
                    break
                evicted += rows
        return evicted

    @contextmanager
    def _optional(self) -> Iterator[None]:
        """Let no failure of the file through."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            if _primary(error) in _CORRUPT and not self._renewed:
                self._renewed = True
                with self._optional():
                    self._move_aside()
            else:
                self._off = True
                log.warning("going on without the cache of supervision %s: %s", self._path, error)

    def _move_aside(self) -> None:
        """Move the corrupt file out of the way, unless another process has done so."""
        if _identity(self._path) != self._file:
            return
        aside = self._path.with_name(f"{self._path.name}.corrupt")
        self._path.replace(aside)
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        log.warning("the cache of supervision %s is corrupt: moved to %s, begun anew", self._path, aside.name)


def _set_up(database: sqlite3.Connection) -> None:
    """Make the table, unless it is there or the file is somebody else's."""
    with database:
        database.execute("BEGIN")
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION:
        raise sqlite3.OperationalError("it is a database of something else")
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}").fetchone()
    if not tables:
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(_TABLE)
            database.execute(_INDEX)


def _mark(database: sqlite3.Connection, found: Collection[str], bad: Collection[str]) -> None:
    """Note which rows were used, and remove those that are not what was put."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute(_TOUCH, (json.dumps(list(found)),))
        database.execute(_REMOVE, (json.dumps(list(bad)),))


def _read(key: str, line: object, digest: object) -> Supervision | None:
    """Return the record of a row, or nothing if the row is not what was put."""
    if not isinstance(line, bytes) or digest != _checksum(key, line):
        return None
    try:
        return Supervision.from_json(json.loads(line))
    except (ValueError, TypeError, KeyError):
        return None


def _checksum(key: str, line: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + line).digest()


def _bytes_in_use(database: sqlite3.Connection) -> int:
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _primary(error: Exception) -> int | None:
    """Return SQLite's code for what happened, without its details."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from another of the same name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
