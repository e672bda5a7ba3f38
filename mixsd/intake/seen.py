"""What a file had so far, in a bounded amount of memory."""

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from mixsd.facts import Fact
from mixsd.intake.rules import folded

_BITS: Final = 25
"""2^25 bits, 4 MB: with a million texts one in thirty is looked up for nothing."""
_BATCH: Final = 500
_PRAGMAS: Final = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16000; BEGIN;"


def digest_of(text: str) -> bytes:
    """Return 16 bytes that stand for a text. To find two texts with the same ones takes 2^64 tries."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def scratch() -> sqlite3.Connection:
    """Open a private database that is in memory while it is small, and in an unnamed file after that."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    connection.executescript(_PRAGMAS)
    return connection


class Index:
    """Finds what was put down first for a digest.

    A bit for each digest answers most questions, since most texts are new; rows are written in batches.
    """

    def __init__(self, rows: sqlite3.Connection, name: str, *columns: str) -> None:
        rows.execute(f"CREATE TABLE {name} (digest BLOB PRIMARY KEY, {', '.join(columns)}) WITHOUT ROWID")
        self._rows = rows
        self._select = f"SELECT {', '.join(columns)} FROM {name} WHERE digest = ?"  # noqa: S608  names of ours
        self._insert = f"INSERT OR IGNORE INTO {name} VALUES (?{', ?' * len(columns)})"  # noqa: S608  likewise
        self._bits = bytearray(1 << _BITS >> 3)
        self._waiting: list[Sequence[Any]] = []

    def get(self, digest: bytes) -> Any:
        """Return the values of a digest, or None."""
        place = int.from_bytes(digest[:4]) >> 32 - _BITS
        if not self._bits[place >> 3] >> (place & 7) & 1:
            return None
        self.write()
        return self._rows.execute(self._select, (digest,)).fetchone()

    def put(self, digest: bytes, *values: Any) -> None:
        """Put down values, unless there are some for this digest."""
        place = int.from_bytes(digest[:4]) >> 32 - _BITS
        self._bits[place >> 3] |= 1 << (place & 7)
        self._waiting.append((digest, *values))
        if len(self._waiting) >= _BATCH:
            self.write()

    def write(self) -> None:
        """Write down what waits."""
        if self._waiting:
            self._rows.executemany(self._insert, self._waiting)
            self._waiting.clear()


class Seen:
    """Tells a fact that clashes with one that came before."""

    def __init__(self) -> None:
        self._rows = scratch()
        self._keys = Index(self._rows, "keys", "place")
        self._questions = Index(self._rows, "questions", "answer", "place")

    def clash(self, fact: Fact, place: str) -> tuple[str, str] | None:
        """Return code and detail of what `fact` clashes with; if there is nothing, it counts from now on."""
        question, answer = digest_of(folded(fact.question)), digest_of(folded(fact.answer))
        key = digest_of(fact.key)
        asked = self._questions.get(question)
        if asked is not None and asked[0] != answer:
            return "contradiction", f"the same question has another answer at {asked[1]}"
        taken = self._keys.get(key)
        if taken is not None:
            return "duplicate_fact_key", f"the key {fact.key} is also at {taken[0]}"
        if asked is not None:
            return "duplicate_question", f"the same question is also at {asked[1]}"
        self._questions.put(question, answer, place)
        self._keys.put(key, place)
        return None

    def close(self) -> None:
        self._rows.close()
