"""What is converted, and how a file shows what it is."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mixsd.conversion.errors import ConversionError
from mixsd.corpora.entries import Entry, entries_in
from mixsd.corpora.errors import CorpusError


class Kind(StrEnum):
    QNA = "qna"
    KNOWEDIT = "knowedit"
    EASYEDIT = "easyedit"
    MQUAKE = "mquake"
    COUNTERFACT = "counterfact"
    ZSRE = "zsre"
    SIMPLEQA = "simpleqa"
    CHAT = "chat"
    CSV = "csv"
    JSONLD = "jsonld"
    RDF = "rdf"


_BY_SUFFIX: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        ".yaml": Kind.QNA,
        ".yml": Kind.QNA,
        ".csv": Kind.CSV,
        ".tsv": Kind.CSV,
        ".jsonld": Kind.JSONLD,
        ".ttl": Kind.RDF,
        ".nt": Kind.RDF,
    }
)
_LOOKED_AT: Final = 20
"""Entries that are looked at to tell what a file of JSON is."""


def detect(path: Path) -> Kind:
    """Tell what a file is, by the end of its name or else by the fields of its first entries.

    Raises:
        ConversionError: It may be several things, or none that is known.
    """
    if kind := _BY_SUFFIX.get(path.suffix.lower()):
        return kind
    try:
        entries = list(islice(entries_in(path), _LOOKED_AT))
    except CorpusError as error:
        raise ConversionError(f"{error}; say what the file is with --from {_names(Kind)}") from None
    found = {kind for entry in entries for kind in _kinds_of(entry)}
    if len(found) == 1:
        return found.pop()
    if found:
        names = _names(sorted(found))
        raise ConversionError(f"{path.name} may be {names}: say which with --from")
    if entries and entries[0].has("question", "answer"):
        raise ConversionError(
            f"{path.name} looks like facts already: `mixsd facts check` judges them. Else use --from"
        )
    fields = ", ".join(list(entries[0].fields)[:8]) if entries else "none"
    raise ConversionError(
        f"{path.name} is nothing that is known (fields: {fields}): say what it is with --from {_names(Kind)}"
    )


def _kinds_of(entry: Entry) -> set[Kind]:
    """Return what an entry may be."""
    found: set[Kind] = set()
    if isinstance(entry.get("requested_rewrite"), list):
        found.add(Kind.MQUAKE)
    elif entry.has("requested_rewrite"):
        found.add(Kind.COUNTERFACT)
    if entry.has("prompt", "target_new"):
        found.add(_edit_kind(entry))
    if entry.has("src", "alt"):
        found.add(Kind.ZSRE)
    if entry.has("problem", "answer"):
        found.add(Kind.SIMPLEQA)
    if entry.has("messages") or entry.has("conversations"):
        found.add(Kind.CHAT)
    if any(name.startswith("@") for name in entry.fields):
        found.add(Kind.JSONLD)
    return found


def _edit_kind(entry: Entry) -> Kind:
    if entry.has("relation_id", "question", "target_true"):
        return Kind.MQUAKE
    grouped = any(isinstance(entry.get(name), Mapping) for name in ("portability", "locality"))
    return Kind.KNOWEDIT if grouped else Kind.EASYEDIT


def _names(kinds: Any) -> str:
    return "|".join(kinds)
