"""Runs as a process of its own: Parquet on stdin, one object of JSON a line on stdout.

Knows nothing but the standard library and pyarrow, so that it starts soon and loads little.
"""

import json
import os
import resource
import sys
from datetime import date
from typing import Any

ROWS = 500
LIMIT = 10_000_000
"""Most bytes of a name, and most entries of a list, in what the file says about itself."""


def main(asked: dict[str, Any]) -> None:
    """Write what is in the file, or why it cannot be read."""
    resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"]))
    import pyarrow as pa  # noqa: PLC0415  after the limits
    from pyarrow import parquet  # noqa: PLC0415

    pa.set_cpu_count(1)
    try:
        with os.fdopen(0, "rb") as source:
            file = parquet.ParquetFile(
                source, thrift_string_size_limit=LIMIT, thrift_container_size_limit=LIMIT, buffer_size=1 << 20
            )
            write_rows(pa, file, asked)
    except (pa.ArrowException, OSError, MemoryError, ValueError):
        say({"broken": ["malformed_parquet", "it is no Parquet file that can be read", None]})
    say({"end": True})


def write_rows(pa: Any, file: Any, asked: dict[str, Any]) -> None:
    """Write a line for each row, if the columns are those of facts."""
    if file.metadata.num_row_groups > asked["groups"]:
        detail = f"it has {file.metadata.num_row_groups} row groups; at most {asked['groups']} are allowed"
        return say({"broken": ["too_many", detail, None]})
    schema = file.schema_arrow
    for column, (name, kind) in enumerate(zip(schema.names, schema.types, strict=True), start=1):
        problem = refusal(pa, name, kind, schema.names, asked)
        if problem:
            return say({"broken": [*problem, column]})
    columns = {name: place for place, name in enumerate(schema.names, start=1)}
    for batch in file.iter_batches(batch_size=ROWS, use_threads=False):
        for row in batch.to_pylist():
            written = json.dumps({"row": cleaned(row), "columns": columns})
            say({"too_long": True} if len(written) > asked["characters"] else written)
    return None


def refusal(pa: Any, name: str, kind: Any, names: list[str], asked: dict[str, Any]) -> tuple[str, str] | None:
    """Return code and detail of why a column is none of facts."""
    shown = repr(name[:60])
    if name not in asked["fields"]:
        return "unknown_field", f"{shown} is no field of a fact; those are {', '.join(asked['fields'])}"
    if names.count(name) > 1:
        return "duplicate_column", f"the column {shown} is there twice"
    if name == "probes":
        fits = is_list(pa, kind) and is_probe(pa, kind.value_type, asked["probe_fields"])
        wanted = "a list of structs of texts"
    elif name in asked["lists"]:
        fits, wanted = is_list(pa, kind) and is_text(pa, kind.value_type), "a list of texts"
    else:
        fits = is_text(pa, kind) or (name in asked["dates"] and pa.types.is_date(kind))
        wanted = "a date or a text" if name in asked["dates"] else "a text"
    if fits or pa.types.is_null(kind):
        return None
    return "wrong_type", f"the column {shown} has the type {str(kind)[:60]}; expected {wanted}"


def is_text(pa: Any, kind: Any) -> bool:
    """Say whether a column holds texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(pa: Any, kind: Any) -> bool:
    """Say whether a column holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def is_probe(pa: Any, kind: Any, fields: list[str]) -> bool:
    """Say whether a type is that of probes. Whether each is a right one is for the validator to say."""
    if not pa.types.is_struct(kind):
        return False
    for field in kind:
        listed = field.name == "aliases" and is_list(pa, field.type) and is_text(pa, field.type.value_type)
        if field.name not in fields or not (
            listed or is_text(pa, field.type) or pa.types.is_null(field.type)
        ):
            return False
    return True


def cleaned(value: Any) -> Any:
    """Return plain data without the fields that are null."""
    if isinstance(value, dict):
        return {name: cleaned(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def say(what: dict[str, Any] | str) -> None:
    """Write a line."""
    sys.stdout.write(what if isinstance(what, str) else json.dumps(what))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
