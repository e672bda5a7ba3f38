"""The formats of files of facts: how they are named, and who reads them."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePath
from types import MappingProxyType
from typing import BinaryIO, Final

from mixsd.intake import document, lines, parquet, table, yaml_file
from mixsd.intake.envelope import Envelope
from mixsd.intake.records import Records


class Format(StrEnum):
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    YAML = "yaml"
    PARQUET = "parquet"


MEDIA_TYPES: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "application/json": Format.JSON,
        "application/jsonl": Format.JSONL,
        "application/x-ndjson": Format.JSONL,
        "application/ndjson": Format.JSONL,
        "application/x-jsonlines": Format.JSONL,
        "text/csv": Format.CSV,
        "application/csv": Format.CSV,
        "text/tab-separated-values": Format.TSV,
        "application/yaml": Format.YAML,
        "application/x-yaml": Format.YAML,
        "text/yaml": Format.YAML,
        "text/x-yaml": Format.YAML,
        "application/vnd.apache.parquet": Format.PARQUET,
        "application/x-parquet": Format.PARQUET,
    }
)
"""Media types that are read. The first of each format is the one to send."""
SUFFIXES: Final[Mapping[str, Format]] = MappingProxyType(
    {
        ".json": Format.JSON,
        ".jsonl": Format.JSONL,
        ".ndjson": Format.JSONL,
        ".csv": Format.CSV,
        ".tsv": Format.TSV,
        ".yaml": Format.YAML,
        ".yml": Format.YAML,
        ".parquet": Format.PARQUET,
    }
)


def format_of(media_type: str, file_name: str = "") -> Format | None:
    """Return the format that a media type says, or else the end of a file's name."""
    return MEDIA_TYPES.get(media_type) or SUFFIXES.get(PurePath(file_name).suffix.lower())


def media_type_of(kind: Format) -> str:
    return next(name for name, other in MEDIA_TYPES.items() if other is kind)


def records(file: BinaryIO, kind: Format, envelope: Envelope) -> Records:
    """Yield what a file holds, record by record. What the document says besides goes to `envelope`.

    Raises:
        BrokenFileError: Nothing can be read from some place on.
        NoParquetError: The file is Parquet, which this installation does not read.
    """
    match kind:
        case Format.JSON:
            return document.records(file, envelope)
        case Format.JSONL:
            return lines.records(file)
        case Format.CSV:
            return table.records(file)
        case Format.TSV:
            return table.records(file, "\t")
        case Format.YAML:
            return yaml_file.records(file, envelope)
        case Format.PARQUET:
            return parquet.records(file)
