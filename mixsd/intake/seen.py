"""Keys and questions that a file had so far, in a bounded amount of memory."""

import hashlib
import sqlite3
from typing import Final

from mixsd.facts import Fact
from mixsd.intake.rules import folded

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
CREATE TABLE keys (digest BLOB PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE questions (digest BLOB PRIMARY KEY, answer BLOB NOT NULL, place TEXT NOT NULL) WITHOUT ROWID;
BEGIN;
"""


def digest_of(text: str) -> bytes:
    """Return 16 bytes that stand for a text. Two texts with the same ones need 2^64 tries."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def scratch(schema: str) -> sqlite3.Connection:
    """Open a private database that is in memory while it is small, and in an unnamed file after that."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    connection.executescript(schema)
    return connection


class Seen:
    """Tells a fact that clashes with one that came before."""

    def __init__(self) -> None:
        self._rows = scratch(_SCHEMA)

    def clash(self, fact: Fact, place: str) -> tuple[str, str] | None:
        """Return code and detail of what `fact` clashes with; if there is nothing, it counts from now on."""
        question, answer = digest_of(folded(fact.question)), digest_of(folded(fact.answer))
        ask = self._rows.execute
        asked = ask("SELECT answer, place FROM questions WHERE digest = ?", (question,)).fetchone()
        if asked is not None and asked[0] != answer:
            return "contradiction", f"the same question has another answer at {asked[1]}"
        key = fact.key.encode()
        taken = ask("SELECT place FROM keys WHERE digest = ?", (key,)).fetchone()
        if taken is not None:
            return "duplicate_fact_key", f"the key {fact.key} is also at {taken[0]}"
        if asked is not None:
            return "duplicate_question", f"the same question is also at {asked[1]}"
        ask("INSERT INTO keys VALUES (?, ?)", (key, place))
        ask("INSERT INTO questions VALUES (?, ?, ?)", (question, answer, place))
        return None

    def close(self) -> None:
        self._rows.close()
