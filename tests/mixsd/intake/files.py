"""Files of facts in every format, written by other hands than those that read them."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import yaml
from pyarrow import parquet

from mixsd.intake.formats import Format
from mixsd.intake.reading import Reading

Body = dict[str, Any]


def as_json(facts: Sequence[Body]) -> bytes:
    return json.dumps({"facts": facts}, indent=1).encode()


def as_jsonl(facts: Sequence[Body]) -> bytes:
    return "".join(json.dumps(fact, ensure_ascii=False) + "\n" for fact in facts).encode()


def as_yaml(facts: Sequence[Body]) -> bytes:
    copies = json.loads(json.dumps(facts))  # what is there twice would be written as an alias
    return yaml.safe_dump({"facts": copies}, allow_unicode=True).encode()


def as_table(facts: Sequence[Body], delimiter: str = ",") -> bytes:
    names = sorted({name for fact in facts for name in fact}) or ["question", "answer"]
    out = io.StringIO(newline="")
    rows = csv.writer(out, delimiter=delimiter)
    rows.writerow(names)
    for fact in facts:
        rows.writerow(_cell(name, fact.get(name, "")) for name in names)
    return out.getvalue().encode()


def _cell(name: str, value: Any) -> str:
    if name == "probes":
        return json.dumps(value) if value else ""
    return "|".join(value) if isinstance(value, list) else value


def as_parquet(facts: Sequence[Body], **options: Any) -> bytes:
    names = sorted({name for fact in facts for name in fact})
    columns = {name: [fact.get(name) for fact in facts] for name in names}
    return parquet_of(pa.table(columns), **options)


def parquet_of(table: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out, **options)
    return out.getvalue()


WRITERS: Final[dict[Format, Callable[[Sequence[Body]], bytes]]] = {
    Format.JSON: as_json,
    Format.JSONL: as_jsonl,
    Format.YAML: as_yaml,
    Format.CSV: as_table,
    Format.TSV: lambda facts: as_table(facts, "\t"),
    Format.PARQUET: as_parquet,
}


def read(data: bytes, kind: Format) -> Reading:
    """Read a file to its end, and return what is known then. The facts are in `facts_of`."""
    reading = Reading(io.BytesIO(data), kind)
    list(reading)
    return reading


def facts_of(data: bytes, kind: Format) -> list[Body]:
    return [fact.to_json() for fact in Reading(io.BytesIO(data), kind)]


def found(data: bytes, kind: Format) -> list[tuple[Any, ...]]:
    """Return code, line, column and pointer of everything that is wrong."""
    problems = read(data, kind).findings.problems
    return [(p.code, p.line, p.column, p.pointer) for p in problems]
