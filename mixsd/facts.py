"""Facts: what they are, what may be wrong with them, and their canonical form.

`mixsd.intake` reads and checks them, for API, command line and worker alike. Nothing here loads torch.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from mixsd.errors import MixsdError

MAX_TEXT: Final = 2_000
"""Most characters of a question, an answer or any other short text."""
MAX_LIST: Final = 64
"""Most entries of a list within a fact."""
MAX_LINE: Final = 65_536
"""Most bytes of a line of JSONL."""
MAX_PROBLEMS: Final = 1_000
"""Most problems that are kept; they are all counted."""

TEXTS: Final = ("context", "subject", "relation", "object", "source")
LISTS: Final = ("aliases", "paraphrases", "train_paraphrases", "tags")
DATES: Final = ("valid_from", "valid_until")
FIELDS: Final = ("key", "question", "answer", *TEXTS, *LISTS, *DATES, "probes")
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
            if not value:
                continue
            if name == "probes":
                value = [
                    {k: list(v) if isinstance(v, tuple) else v for k in PROBE_FIELDS if (v := getattr(p, k))}
                    for p in value
                ]
            body[name] = list(value) if isinstance(value, tuple) else value
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

    @property
    def place(self) -> str:
        """Where it is, on one line; empty if that is nowhere in particular."""
        place = [f"line {self.line}" if self.line else "", f"column {self.column}" if self.column else ""]
        place += [_printable(self.pointer), f"fact {_printable(self.fact_key)}" if self.fact_key else ""]
        return ", ".join(part for part in place if part)

    def __str__(self) -> str:
        return f"{self.place or 'facts'}: {self.detail} [{self.code}]"


NO_FACT: Final = Problem("empty_fact_set", "there is no fact in it")


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
class Findings:
    """Problems that were found: all are counted, the first `MAX_PROBLEMS` are kept."""

    problems: list[Problem] = field(default_factory=list)
    total_problems: int = 0

    @property
    def is_full(self) -> bool:
        """Say whether a further problem would only be counted, so that its place need not be sought."""
        return len(self.problems) >= MAX_PROBLEMS

    def report(self, problem: Problem) -> None:
        self.total_problems += 1
        if not self.is_full:
            self.problems.append(problem)


@dataclass(slots=True)
class Parsed(Findings):
    """What a reader found: the good facts, and the problems of the others."""

    facts: list[Fact] = field(default_factory=list)

    def or_raise(self) -> list[Fact]:
        """Return the facts if all of them are good and there is at least one.

        Raises:
            FactsError: There is a problem.
        """
        if not self.facts and not self.total_problems:
            self.report(NO_FACT)
        if self.total_problems:
            raise FactsError(self.problems, self.total_problems)
        return self.facts


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


class Digest:
    """Size and sha256 of the canonical form: one line of JSON a fact, in order, keys sorted."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.n_facts = 0
        self.bytes = 0

    def add(self, fact: Fact) -> bytes:
        """Take a fact in, and return its line."""
        line = _CANONICAL.encode(fact.to_json()).encode() + b"\n"
        self._sha256.update(line)
        self.n_facts += 1
        self.bytes += len(line)
        return line

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def sha256_of(facts: Iterable[Fact]) -> str:
    """Return the digest of the canonical form."""
    digest = Digest()
    for fact in facts:
        digest.add(fact)
    return digest.sha256


def _printable(text: str | None) -> str:
    """Escape what would break a line or reach a terminal as a command."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text or "")
