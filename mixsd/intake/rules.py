"""What is right about one fact, whatever it was read from. Every text is brought to NFC and stripped."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from mixsd.facts import (
    DATES,
    FIELDS,
    LISTS,
    MAX_LIST,
    MAX_TEXT,
    PROBE_FIELDS,
    PROBE_KINDS,
    TEXTS,
    Fact,
    Probe,
)
from mixsd.strict_json import shown

_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_STEP: Final = 64
_NAMES: Final = frozenset(FIELDS)

_Found = Iterator[tuple[str, str, str]]
"""Pointer within the fact, code and detail of each problem."""


def problems_of(value: dict[str, Any]) -> _Found:
    """Yield all that is wrong with a fact."""
    if not value.keys() <= _NAMES:
        yield from _unknown(value)
    key = value.get("key", "")
    if key != "" and not (isinstance(key, str) and _KEY.fullmatch(key)):
        yield "/key", "bad_key", "a key is 1 to 64 letters, digits, dots, dashes or underscores"
    yield from _required(value)
    for name in TEXTS:
        if name in value and (wrong := _wrong(value[name], blank=True)):
            yield f"/{name}", *wrong
    for name in LISTS:
        if name in value:
            yield from _texts(f"/{name}", value[name])
    if "valid_from" in value or "valid_until" in value:
        yield from _dates(value)
    if "probes" in value:
        yield from _probes(value["probes"])


def _unknown(value: dict[str, Any]) -> _Found:
    for name in value:
        if name not in _NAMES:
            detail = f"{shown(name)} is no field of a fact; those are {', '.join(FIELDS)}"
            yield _step(name), "unknown_field", detail


def _required(value: dict[str, Any], pointer: str = "") -> _Found:
    for name in ("question", "answer"):
        if name not in value:
            yield f"{pointer}/{name}", "missing_field", f"`{name}` is missing"
        elif wrong := _wrong(value[name]):
            yield f"{pointer}/{name}", *wrong


def _wrong(value: Any, *, blank: bool = False) -> tuple[str, str] | None:
    """Return code and detail of what is wrong with a text."""
    if not isinstance(value, str):
        return "wrong_type", "expected a text"
    if not blank and not _says_something(value):
        return "blank_text", "the text is blank"
    # NFC makes a character three at most.
    if len(value) > MAX_TEXT // 3 and (length := len(_clean(value))) > MAX_TEXT:
        return "too_long", f"the text has {length} characters; at most {MAX_TEXT} are allowed"
    return None


def _says_something(text: str) -> bool:
    """Look for a letter, digit or symbol: neither white space nor marks alone say anything."""
    return text[:1].isalnum() or any(unicodedata.category(character)[0] in "LNSP" for character in text)


def _texts(pointer: str, value: Any) -> _Found:
    if not isinstance(value, list):
        yield pointer, "wrong_type", "expected a list of texts"
        return
    if len(value) > MAX_LIST:
        yield pointer, "too_many", f"the list has {len(value)} entries; at most {MAX_LIST} are allowed"
        return
    for place, item in enumerate(value):
        if wrong := _wrong(item):
            yield f"{pointer}/{place}", *wrong


def _dates(value: dict[str, Any]) -> _Found:
    days: dict[str, date] = {}
    for name in DATES:
        if value.get(name, "") != "":  # empty is as good as left out: so facts are shown
            try:
                day = date.fromisoformat(value[name])
            except (TypeError, ValueError):
                day = None
            if day is not None and day.isoformat() == value[name]:  # not 20261124 or 2026-W48-2
                days[name] = day
            else:
                yield f"/{name}", "bad_date", "expected a date such as 2026-11-24"
    if len(days) == len(DATES) and days["valid_from"] > days["valid_until"]:
        yield "/valid_until", "bad_date", "`valid_until` lies before `valid_from`"


def _probes(value: Any) -> _Found:
    if not isinstance(value, list):
        yield "/probes", "wrong_type", "expected a list of probes"
        return
    if len(value) > MAX_LIST:
        yield "/probes", "too_many", f"the list has {len(value)} entries; at most {MAX_LIST} are allowed"
        return
    for place, probe in enumerate(value):
        pointer = f"/probes/{place}"
        if not isinstance(probe, dict):
            yield pointer, "wrong_type", "a probe is an object"
            continue
        for name in probe:
            if name not in PROBE_FIELDS:
                yield pointer + _step(name), "unknown_field", f"{shown(name)} is no field of a probe"
        if probe.get("kind", "other") not in PROBE_KINDS:
            yield f"{pointer}/kind", "bad_kind", f"expected one of {', '.join(PROBE_KINDS)}"
        yield from _required(probe, pointer)
        if "aliases" in probe:
            yield from _texts(f"{pointer}/aliases", probe["aliases"])


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() if value.isascii() else unicodedata.normalize("NFC", value).strip()
    return tuple(_clean(item) for item in value)


def build(value: dict[str, Any]) -> Fact:
    """Return the fact of which nothing is wrong."""
    texts = {name: _clean(item) for name, item in value.items() if name != "probes"}
    probes = tuple(
        Probe(**{name: _clean(item) for name, item in probe.items()}) for probe in value.get("probes", [])
    )
    if not texts.get("key"):
        made = hashlib.sha256(f"{texts['question']}\x00{texts['answer']}".encode()).hexdigest()[:16]
        texts["key"] = f"f-{made}"
    return Fact(**texts | {"probes": probes})


def folded(text: str) -> str:
    """Return the form in which questions are the same, and answers."""
    return " ".join(text.casefold().split())


def _step(name: str) -> str:
    """Return the part of a JSON pointer that leads into the field `name`, cut if that is long."""
    return "/" + name[:_MAX_STEP].replace("~", "~0").replace("/", "~1")
