"""Tables whose columns have names of their own."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from mixsd.conversion.errors import ConversionError
from mixsd.corpora.entries import MAX_FIELD, Entry, bytes_of, table_in
from mixsd.facts import FIELDS
from mixsd.intake.table import delimiter_of
from mixsd.strict_json import shown

PROBES: Final = tuple(
    f"{kind}_{part}" for kind in ("reversed", "neighbour") for part in ("question", "answer")
)
FILLED: Final = (*(name for name in FIELDS if name != "probes"), *PROBES)
"""What a column may stand for."""


def columns_from(words: Sequence[str]) -> dict[str, str]:
    """Read `FIELD=COLUMN` words; return the field of each column.

    Raises:
        ConversionError: One is no such word, or a field or column is named twice.
    """
    fields: dict[str, str] = {}
    for word in words:
        field, equals, column = word.partition("=")
        if not equals or field not in FILLED or not column:
            raise ConversionError(
                f"--column {shown(word)}: expected FIELD=COLUMN, where FIELD is one of {', '.join(FILLED)}"
            )
        if column in fields or field in fields.values():
            raise ConversionError(f"--column {shown(word)}: {field} or the column is named twice")
        fields[column] = field
    return fields


def rows(path: Path, fields: Mapping[str, str], notes: list[str]) -> Iterator[Entry]:
    """Yield the rows of a table under the names of fields.

    With `fields` a column is left out that it does not name and that has no field's name itself.

    Raises:
        CorpusError: It is no table.
        ConversionError: A column is not there.
    """
    head = bytes_of(path).partition(b"\n")[0].decode(errors="replace")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else delimiter_of(head)
    if not fields:
        yield from table_in(path, delimiter)
        return
    csv.field_size_limit(MAX_FIELD)  # it is the process's own, and may be another
    try:
        names = [name.strip() for row in csv.reader([head], delimiter=delimiter) for name in row]
    except csv.Error as error:
        raise ConversionError(f"{path.name}, line 1: {error}") from None
    for column, field in fields.items():
        if column not in names:
            listed = ", ".join(map(shown, names))
            raise ConversionError(
                f"{path.name}, line 1: there is no column {shown(column)} for {field}; there are {listed}"
            )
    taken = {name: name for name in names if name in FILLED and name not in fields.values()} | dict(fields)
    if left_out := [name for name in names if name not in taken]:
        notes.append(f"columns that no --column names were left out: {', '.join(map(shown, left_out))}")
    for entry in table_in(path, delimiter):
        cells = {taken[name]: cell for name, cell in entry.fields.items() if name in taken}
        yield replace(entry, fields=cells)
