"""The world of KGFact: 14 domains of 50 invented names, and 910 relations between them.

A relation leads from an earlier domain to a later one, so that facts never run in a circle. Every
form of a relation is made from one phrase of `data/relations.txt`; its head says how they are written.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from mixsd.corpora.english import participle, past, third

N_DOMAINS: Final = 14
N_NAMES: Final = 50
N_RELATIONS: Final = 10
"""Relations of each ordered pair of domains."""

_PREPOSITIONS: Final = frozenset(
    {"about", "after", "against", "around", "at", "beside", "during", "for", "from", "in", "into", "near"}
    | {"of", "on", "over", "through", "to", "with"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A kind of things. `label` is the word for it, `names` are those that there are."""

    key: str
    label: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """What holds between a subject of `source` and an object of `target`.

    `head` and `tail` part the phrase where a question moves things: "was" and "born in" of "was born
    in", "" and "train" of "trains". `is_past` is for verbs; `preposition` is empty if none ends it.

    Attributes:
        kind: `active` (a verb and its object), `passive` ("is trained by"), `verb` (a verb and a
            preposition) or `copula` ("is a judge at").
        verb: The base form, of the kinds `active` and `passive`; else empty.
    """

    source: Domain
    target: Domain
    phrase: str
    kind: str
    head: str
    tail: str
    preposition: str
    is_past: bool

    @property
    def key(self) -> str:
        """Name the relation; no other has the same."""
        return f"{self.source.key}-{self.target.key}.{self.phrase.replace(' ', '_')}"

    @property
    def verb(self) -> str:
        return self.tail if self.kind in {"active", "passive"} else ""

    def statement(self, subject: str, target: str) -> str:
        """Return a sentence such as "Sanry Guild trains the profession Liorell Weaver."."""
        return f"{subject} {self._predicate()} the {self.target.label} {target}."

    def question(self, subject: str) -> str:
        """Ask for the object: "What profession does Sanry Guild train?"."""
        label = self.target.label
        if self.kind == "passive":
            return f"What {label} {self.head} {subject} {participle(self.tail)} by?"
        preposition = f" {self.preposition}" if self.preposition else ""
        return f"What {label} {self._auxiliary()} {subject} {self.tail}{preposition}?"

    def clause(self, subject: str) -> str:
        """Return words for the object: "the profession that Sanry Guild trains"."""
        return f"the {self.target.label} {self._relative(subject)}"

    def reversed_question(self, target: str) -> str:
        """Ask for the subject: "Which organization trains the profession Liorell Weaver?"."""
        return f"Which {self.source.label} {self._predicate()} the {self.target.label} {target}?"

    def rewordings(self, subject: str) -> tuple[str, ...]:
        """Return the question in three other builds: turned round, as a request, with the gap in place."""
        label = self.target.label
        return (
            self.turned_question(subject),
            f"Name {self.clause(subject)}.",
            f"{subject} {self._predicate()} which {label}?",
        )

    def turned_question(self, subject: str) -> str:
        """Ask with the voice turned, or with the preposition in front.

        As in "Which profession is trained by Sanry Guild?", "In which location was Zovis Judium born?".
        """
        label = self.target.label
        if self.kind == "active":
            return f"Which {label} {'was' if self.is_past else 'is'} {participle(self.tail)} by {subject}?"
        if self.kind == "passive":
            return f"Which {label} {self._by_object()} {subject}?"
        fronted = self.preposition.capitalize()
        return f"{fronted} which {label} {self._auxiliary()} {subject} {self.tail}?"

    def chained_question(self, subject: str) -> str:
        """Ask for the object when `subject` is a clause, which must not be torn apart by a long verb."""
        return self.question(subject) if self.kind in {"verb", "copula"} else self.turned_question(subject)

    def _auxiliary(self) -> str:
        if self.kind == "copula":
            return self.head
        return "did" if self.is_past else "does"

    def _finite(self) -> str:
        first, *rest = self.tail.split()
        return " ".join([past(first) if self.is_past else third(first), *rest])

    def _by_object(self) -> str:
        return past(self.tail) if self.is_past else third(self.tail)

    def _predicate(self) -> str:
        if self.kind == "passive":
            return f"{self.head} {participle(self.tail)} by"
        start = f"{self.head} {self.tail}" if self.kind == "copula" else self._finite()
        return f"{start} {self.preposition}".rstrip()

    def _relative(self, subject: str) -> str:
        if self.kind == "active":
            return f"that {subject} {self._finite()}"
        if self.kind == "passive":
            return f"that {self._by_object()} {subject}"
        inner = f"{self.head} {self.tail}" if self.kind == "copula" else self._finite()
        return f"{self.preposition} which {subject} {inner}"


@dataclass(frozen=True, slots=True, eq=False)
class World:
    domains: tuple[Domain, ...]
    relations: dict[tuple[str, str], tuple[Relation, ...]]
    """Keys of source and target domain, in the order of the data file."""

    two_way_verbs: frozenset[str]
    """Verbs that have both an active and a passive relation somewhere."""


@cache
def world() -> World:
    """Read the world that comes with the package."""
    data = files("mixsd.corpora") / "data"
    domains = tuple(_domains((data / "names.txt").read_text(encoding="utf-8")))
    by_key = {domain.key: domain for domain in domains}
    relations = {}
    for line in _lines((data / "relations.txt").read_text(encoding="utf-8")):
        pair, _, phrases = line.partition(":")
        source, target = (by_key[key] for key in pair.split())
        relations[source.key, target.key] = tuple(
            relation_of(source, target, phrase.strip()) for phrase in phrases.split("|")
        )
    return World(domains, relations, _two_way(relation for group in relations.values() for relation in group))


def relation_of(source: Domain, target: Domain, phrase: str) -> Relation:
    """Take a phrase apart.

    Raises:
        ValueError: The phrase has none of the forms that the data file names.
    """
    words = phrase.split()
    if "by" in words:
        head, verb = ("was", words[2:]) if words[:2] == ["was", "by"] else ("is", words[1:])
        if len(verb) == 1 and words[0] in {"was", "by"}:
            return Relation(source, target, phrase, "passive", head, verb[0], "", head == "was")
    elif words[0] in {"is", "was"}:
        if len(words) > 2 and words[-1] in _PREPOSITIONS:
            tail = " ".join(words[1:-1])
            return Relation(source, target, phrase, "copula", words[0], tail, words[-1], words[0] == "was")
    else:
        is_past = words[0] == "did"
        words = words[is_past:]
        if len(words) == 1:
            return Relation(source, target, phrase, "active", "", words[0], "", is_past)
        if words and words[-1] in _PREPOSITIONS:
            return Relation(source, target, phrase, "verb", "", " ".join(words[:-1]), words[-1], is_past)
    raise ValueError(f"a relation from {source.key} to {target.key} cannot be read: {phrase}")


def _two_way(relations: Iterable[Relation]) -> frozenset[str]:
    verbs: dict[str, set[str]] = {"active": set(), "passive": set()}
    for relation in relations:
        if relation.verb:
            verbs[relation.kind].add(relation.verb)
    return frozenset(verbs["active"] & verbs["passive"])


def _domains(text: str) -> Iterator[Domain]:
    for block in re.split(r"\n(?=\w+ \([\w ]+\):\n)", text)[1:]:
        head, *lines = block.strip().splitlines()
        key, label = re.fullmatch(r"(\w+) \((.+)\):", head).groups()  # type: ignore[union-attr]
        yield Domain(key, label, tuple(name.strip() for line in lines for name in line.split("|")))


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
