"""Entries of a data set: read from a file, and asked for their fields so that mistakes have a place."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mixsd.corpora.errors import CorpusError
from mixsd.facts import MAX_TEXT
from mixsd.strict_json import JsonProblem, decode, shown

MAX_FIELD: Final = 1_000_000
"""Most characters of a cell of a CSV file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Fields of one entry. `number` counts from 1; `place` is where it stands, for messages.

    Names of fields lead into objects by dots. What is `null` counts as absent.
    """

    number: int
    place: str
    fields: Mapping[str, Any]

    def has(self, *names: str) -> bool:
        return all(self.get(name) is not None for name in names)

    def get(self, name: str) -> Any:
        """Return a field, or None."""
        value: Any = self.fields
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def text(self, name: str) -> str:
        """Return a field that must be a text and say something.

        Raises:
            CorpusError: It is missing, no text, blank or too long.
        """
        if (value := self.get(name)) is None:
            raise self.wrong(name, "is missing")
        return self.said(name, value)

    def text_or_empty(self, name: str) -> str:
        """Return a field that may be missing or blank.

        Raises:
            CorpusError: It is no text, or too long.
        """
        value = self.get(name)
        return "" if value is None or value == "" else self.said(name, value)

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, which may be one text or missing. Blank ones are left out.

        Raises:
            CorpusError: It is no list of texts, or one of them is too long.
        """
        value = self.get(name)
        listed = [value] if isinstance(value, str) else value or []
        if not isinstance(listed, list):
            raise self.wrong(name, "is no list of texts")
        return [self.said(name, item) for item in listed if item is not None and item != ""]

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        """Return a list of objects that is not empty.

        Raises:
            CorpusError: It is missing, or no such list.
        """
        if (value := self.get(name)) is None:
            raise self.wrong(name, "is missing")
        if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
            raise self.wrong(name, "is no list of objects")
        return value

    def within(self, name: str, fields: Mapping[str, Any], number: int) -> "Entry":
        """Return an object of a list as an entry of its own, whose mistakes name the way to it."""
        return Entry(number, f"{self.place}, `{name}` {number}", fields)

    def said(self, name: str, value: Any) -> str:
        """Return `value` as the text of a field.

        Raises:
            CorpusError: It is no text, blank or too long.
        """
        if not isinstance(value, str):
            raise self.wrong(name, f"is no text but {shown(repr(value))}")
        text = value.strip()
        if not text:
            raise self.wrong(name, "is blank")
        if len(text) > MAX_TEXT:
            raise self.wrong(name, f"has {len(text)} characters; at most {MAX_TEXT} are allowed")
        return text

    def wrong(self, name: str, what: str) -> CorpusError:
        return CorpusError(f"{self.place}: `{name}` {what}")


def entries_in(path: Path) -> Iterator[Entry]:
    """Read a file: `.json` holds a list of objects, `.csv` and `.tsv` a table with a head, else JSONL.

    Raises:
        CorpusError: The file cannot be read, or is not what its suffix says.
    """
    data = bytes_of(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _from_json(path, data)
    if suffix in {".csv", ".tsv"}:
        return table_in(path, "\t" if suffix == ".tsv" else ",")
    return _from_lines(path, data)


def table_in(path: Path, delimiter: str) -> Iterator[Entry]:
    """Read a table whose first line names the columns. An empty cell counts as absent.

    Raises:
        CorpusError: The file cannot be read, or is no such table.
    """
    return _from_table(path, bytes_of(path), delimiter)


def bytes_of(path: Path) -> bytes:
    """Read a file.

    Raises:
        CorpusError: It cannot be read.
    """
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def _from_lines(path: Path, data: bytes) -> Iterator[Entry]:
    count = 0
    for line, raw in enumerate(data.split(b"\n"), start=1):
        if raw.strip():
            count += 1
            yield _entry(count, f"{path.name}, line {line}", _decoded(raw, f"{path.name}, line {line}"))


def _from_json(path: Path, data: bytes) -> Iterator[Entry]:
    values = _decoded(data, path.name)
    if not isinstance(values, list):
        raise CorpusError(f"{path.name}: expected a list of objects")
    for number, value in enumerate(values, start=1):
        yield _entry(number, f"{path.name}, entry {number}", value)


def _decoded(data: bytes, place: str) -> Any:
    try:
        return decode(data)
    except JsonProblem as error:
        within = f", line {error.line}, column {error.column}" if error.line and "line" not in place else ""
        raise CorpusError(f"{place}{within}: {error}") from None


def _entry(number: int, place: str, value: Any) -> Entry:
    if not isinstance(value, dict):
        raise CorpusError(f"{place}: an entry is an object")
    return Entry(number, place, value)


def _from_table(path: Path, data: bytes, delimiter: str) -> Iterator[Entry]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path.name}, line {line}: the bytes are not UTF-8") from None
    csv.field_size_limit(MAX_FIELD)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    head: list[str] = []
    count = 0
    start = 1
    try:
        for row in rows:
            place, start = f"{path.name}, line {start}", rows.line_num + 1
            if not row:
                continue
            if not head:
                head = _head(row, place)
                continue
            if len(row) != len(head):
                raise CorpusError(f"{place}: {len(row)} cells where the head has {len(head)}")
            count += 1
            yield Entry(count, place, {name: cell for name, cell in zip(head, row, strict=True) if cell})
    except csv.Error as error:
        raise CorpusError(f"{path.name}, line {rows.line_num}: {error}") from None


def _head(row: list[str], place: str) -> list[str]:
    names = [name.strip() for name in row]
    for name in names:
        if not name or names.count(name) > 1:
            raise CorpusError(f"{place}: the column {shown(name)} is {'there twice' if name else 'unnamed'}")
    return names
