"""Facts: what they are, and readers that name every mistake with its place.

One validator serves API, command line and worker, so what one of them calls valid is never
refused by another. Every text is brought to NFC and stripped. Nothing here loads torch.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Final

from mixsd.errors import MixsdError
from mixsd.strict_json import JsonProblem, decode, shown

MAX_TEXT: Final = 2_000
"""Most characters of a question, an answer or any other short text."""
MAX_LIST: Final = 64
"""Most entries of a list within a fact."""
MAX_LINE: Final = 65_536
"""Most bytes of a line of JSONL."""
MAX_PROBLEMS: Final = 1_000
"""Most problems that are kept; they are all counted."""

_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TEXTS: Final = ("context", "subject", "relation", "object", "source")
_LISTS: Final = ("aliases", "paraphrases", "train_paraphrases", "tags")
_DATES: Final = ("valid_from", "valid_until")
FIELDS: Final = ("key", "question", "answer", *_TEXTS, *_LISTS, *_DATES, "probes")
PROBE_FIELDS: Final = ("kind", "question", "answer", "aliases")
PROBE_KINDS: Final = ("reversed", "hop", "neighbour", "other")


@dataclass(frozen=True, slots=True)
class Probe:
    """An extra question with its answer. A `neighbour` must keep the base model's answer."""

    question: str
    answer: str
    kind: str = "other"
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to teach. `paraphrases` and `probes` are asked at evaluation, never trained on."""

    key: str
    question: str
    answer: str
    aliases: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    train_paraphrases: tuple[str, ...] = ()
    context: str = ""
    subject: str = ""
    relation: str = ""
    object: str = ""
    tags: tuple[str, ...] = ()
    source: str = ""
    valid_from: str = ""
    valid_until: str = ""
    probes: tuple[Probe, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fact as plain data, without what is empty."""
        body: dict[str, Any] = {}
        for name in FIELDS:
            value = getattr(self, name)
            if name == "probes":
                value = [
                    {k: list(v) if isinstance(v, tuple) else v for k in PROBE_FIELDS if (v := getattr(p, k))}
                    for p in value
                ]
            elif isinstance(value, tuple):
                value = list(value)
            if value:
                body[name] = value
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Fact":
        """Read back what `to_json` wrote. For data that was validated before."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
        probes: list[Probe] = []
        for probe in body.get("probes", ()):
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in probe.items()}
            probes.append(Probe(**fields))
        return cls(**values | {"probes": tuple(probes)})


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake and where it is: a line of a file, or a JSON pointer into a document."""

    code: str
    detail: str
    line: int | None = None
    column: int | None = None
    pointer: str | None = None
    fact_key: str | None = None

    def __str__(self) -> str:
        place = [f"line {self.line}" if self.line else "", f"column {self.column}" if self.column else ""]
        place += [_printable(self.pointer), f"fact {_printable(self.fact_key)}" if self.fact_key else ""]
        return f"{', '.join(part for part in place if part) or 'facts'}: {self.detail} [{self.code}]"


class FactsError(MixsdError):
    """The facts cannot be used. `problems` lists what is wrong, `total` says how much there is."""

    code: ClassVar[str] = "invalid_facts"

    def __init__(self, problems: Sequence[Problem], total: int) -> None:
        super().__init__(problems, total)
        self.problems = problems
        self.total = total

    def __str__(self) -> str:
        more = f"\nand {self.total - len(self.problems)} more" if self.total > len(self.problems) else ""
        return "\n".join(str(problem) for problem in self.problems) + more


@dataclass(slots=True)
class Parsed:
    """What a reader found: the good facts, and the problems of the others."""

    facts: list[Fact] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    total_problems: int = 0

    def report(self, problem: Problem) -> None:
        self.total_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def or_raise(self) -> list[Fact]:
        """Return the facts if all of them are good and there is at least one.

        Raises:
            FactsError: There is a problem.
        """
        if not self.facts and not self.total_problems:
            self.report(Problem("empty_fact_set", "there is no fact in it"))
        if self.total_problems:
            raise FactsError(self.problems, self.total_problems)
        return self.facts


def sha256_of(facts: Iterable[Fact]) -> str:
    """Return the digest of the canonical form: one line of JSON a fact, in order, keys sorted."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(json.dumps(fact.to_json(), sort_keys=True, ensure_ascii=False).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def read_facts(path: Path) -> list[Fact]:
    """Read a file of facts: `.json` holds a list (or an object with `facts`), else JSONL.

    Raises:
        FactsError: Something is wrong with the facts; all of it is listed.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    parsed = parse_json(data) if path.suffix == ".json" else parse_jsonl(data)
    return parsed.or_raise()


def parse_jsonl(data: bytes) -> Parsed:
    """Read one fact a line. Only newlines part lines, blank ones are skipped."""
    parsed = Parsed()
    checker = _Checker(parsed)
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip():
            continue
        if len(raw) > MAX_LINE:
            parsed.report(Problem("line_too_long", f"a line has at most {MAX_LINE} bytes", line=number))
            continue
        try:
            value = decode(raw)
        except JsonProblem as error:
            parsed.report(Problem(error.code, error.detail, line=number, column=error.column))
            continue
        checker.check(value, line=number)
    return parsed


def parse_json(data: bytes) -> Parsed:
    """Read a JSON document: a list of facts, or an object whose `facts` is one."""
    parsed = Parsed()
    try:
        value = decode(data.removeprefix(b"\xef\xbb\xbf"))
    except JsonProblem as error:
        parsed.report(Problem(error.code, error.detail, line=error.line, column=error.column))
        return parsed
    prefix = ""
    if isinstance(value, dict) and isinstance(value.get("facts"), list):
        value, prefix = value["facts"], "/facts"
    if not isinstance(value, list):
        parsed.report(Problem("wrong_type", "expected a list of facts, or an object with `facts`"))
        return parsed
    return parse_objects(value, prefix=prefix)


def parse_objects(values: Iterable[Any], *, prefix: str = "") -> Parsed:
    """Check facts that came as part of a document; `prefix` is the pointer to their list."""
    parsed = Parsed()
    checker = _Checker(parsed)
    for place, value in enumerate(values):
        checker.check(value, pointer=f"{prefix}/{place}")
    return parsed


def _printable(text: str | None) -> str:
    """Escape what would break a line or reach a terminal as a command."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text or "")


def _step(name: str) -> str:
    """Return the part of a JSON pointer that leads into the field `name`."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


class _Checker:
    """Checks facts one by one, and against those that came before."""

    def __init__(self, parsed: Parsed) -> None:
        self._parsed = parsed
        self._keys: dict[str, str] = {}
        self._questions: dict[str, tuple[str, str]] = {}

    def check(self, value: Any, *, line: int | None = None, pointer: str = "") -> None:
        """Add the fact in `value`, or report all that is wrong with it."""
        place = f"line {line}" if line else pointer
        if not isinstance(value, dict):
            self._parsed.report(
                Problem("wrong_type", "a fact is an object", line=line, pointer=pointer or None)
            )
            return
        given_key = value.get("key")
        shown_key = given_key[:64] if isinstance(given_key, str) else None
        before = self._parsed.total_problems
        for where, code, detail in _problems_of(value):
            full = f"{pointer}{where}" if pointer or where else None
            self._parsed.report(Problem(code, detail, line=line, pointer=full, fact_key=shown_key))
        if self._parsed.total_problems > before:
            return
        fact = _build(value)
        clash = self._clash(fact, place)
        if clash:
            code, detail = clash
            self._parsed.report(Problem(code, detail, line=line, pointer=pointer or None, fact_key=fact.key))
            return
        self._keys[fact.key] = place
        self._questions[_folded(fact.question)] = (_folded(fact.answer), place)
        self._parsed.facts.append(fact)

    def _clash(self, fact: Fact, place: str) -> tuple[str, str] | None:
        before = self._questions.get(_folded(fact.question))
        if before is not None and before[0] != _folded(fact.answer):
            return "contradiction", f"the same question has another answer at {before[1]}"
        if fact.key in self._keys:
            return "duplicate_fact_key", f"the key {fact.key} is also at {self._keys[fact.key]}"
        if before is not None:
            return "duplicate_question", f"the same question is also at {before[1]}"
        return None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


_Found = Iterator[tuple[str, str, str]]
"""Pointer within the fact, code and detail of each problem."""


def _problems_of(value: dict[str, Any]) -> _Found:
    for name in value:
        if name not in FIELDS:
            yield (
                _step(name),
                "unknown_field",
                f"{shown(name)} is no field of a fact; those are {', '.join(FIELDS)}",
            )
    if "key" in value and not (isinstance(value["key"], str) and _KEY.fullmatch(value["key"])):
        yield "/key", "bad_key", "a key is 1 to 64 letters, digits, dots, dashes or underscores"
    yield from _required(value)
    for name in _TEXTS:
        if name in value:
            yield from _text(f"/{name}", value[name], blank=True)
    for name in _LISTS:
        if name in value:
            yield from _texts(f"/{name}", value[name])
    yield from _dates(value)
    yield from _probes(value.get("probes", []))


def _required(value: dict[str, Any], pointer: str = "") -> _Found:
    for name in ("question", "answer"):
        if name not in value:
            yield f"{pointer}/{name}", "missing_field", f"`{name}` is missing"
        else:
            yield from _text(f"{pointer}/{name}", value[name])


def _text(pointer: str, value: Any, *, blank: bool = False) -> _Found:
    if not isinstance(value, str):
        yield pointer, "wrong_type", "expected a text"
    elif not blank and not _says_something(value):
        yield pointer, "blank_text", "the text is blank"
    elif (length := len(_clean(value))) > MAX_TEXT:
        yield pointer, "too_long", f"the text has {length} characters; at most {MAX_TEXT} are allowed"


def _says_something(text: str) -> bool:
    """Look for a letter, digit or symbol: neither white space nor marks alone say anything."""
    return any(unicodedata.category(character)[0] in "LNSP" for character in text)


def _texts(pointer: str, value: Any) -> _Found:
    if not isinstance(value, list):
        yield pointer, "wrong_type", "expected a list of texts"
        return
    if len(value) > MAX_LIST:
        yield pointer, "too_many", f"the list has {len(value)} entries; at most {MAX_LIST} are allowed"
        return
    for place, item in enumerate(value):
        yield from _text(f"{pointer}/{place}", item)


def _dates(value: dict[str, Any]) -> _Found:
    days: dict[str, date] = {}
    for name in _DATES:
        if name in value:
            try:
                day = date.fromisoformat(value[name])
            except (TypeError, ValueError):
                day = None
            if day is not None and day.isoformat() == value[name]:  # not 20261124 or 2026-W48-2
                days[name] = day
            else:
                yield f"/{name}", "bad_date", "expected a date such as 2026-11-24"
    if len(days) == len(_DATES) and days["valid_from"] > days["valid_until"]:
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
        return unicodedata.normalize("NFC", value).strip()
    return tuple(_clean(item) for item in value)


def _build(value: dict[str, Any]) -> Fact:
    texts = {name: _clean(item) for name, item in value.items() if name != "probes"}
    probes = tuple(
        Probe(**{name: _clean(item) for name, item in probe.items()}) for probe in value.get("probes", [])
    )
    made = hashlib.sha256(f"{texts['question']}\x00{texts['answer']}".encode()).hexdigest()[:16]
    return Fact(**{"key": f"f-{made}"} | texts | {"probes": probes})
