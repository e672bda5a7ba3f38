"""Facts of KGFact: drawn from the world by its rules, and checked against them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from mixsd.corpora.errors import CorpusError
from mixsd.corpora.world import Domain, Relation, world


@dataclass(frozen=True, slots=True)
class Edge:
    """One fact: `subject` stands in `relation` to `target`."""

    subject: str
    relation: Relation
    target: str

    @property
    def key(self) -> str:
        """Name the fact: a subject has one for each later domain."""
        return f"{slug(self.subject)}.{self.relation.target.key}"

    @property
    def statement(self) -> str:
        return self.relation.statement(self.subject, self.target)


def slug(name: str) -> str:
    """Return a name as part of a key.

    Example:
        >>> slug("Sanry Guild")
        'sanry-guild'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def draw(domains: Sequence[Domain], names: slice, seed: int) -> tuple[Edge, ...]:
    """Draw one fact for each pair of domains and each subject of the first one.

    Pairs, subjects and relations are shuffled. A subject takes the first relation for which a target is
    free; the target is drawn among the free ones. Free means: no subject has the relation twice, no
    target is reached twice by a relation, and no thing is the object of a two-way verb twice.

    Raises:
        CorpusError: A subject found no relation.
    """
    rng = Random(seed)
    taken = _Taken()
    pairs = list(combinations(domains, 2))
    rng.shuffle(pairs)
    edges = []
    for source, target in pairs:
        subjects = list(source.names[names])
        rng.shuffle(subjects)
        for subject in subjects:
            relations = list(world().relations[source.key, target.key])
            rng.shuffle(relations)
            edge = _first_free(subject, relations, target.names[names], taken, rng)
            if edge is None:
                raise CorpusError(f"no relation from {subject} to a {target.label} is free; use another seed")
            taken.add(edge)
            edges.append(edge)
    return tuple(edges)


def violations(edges: Iterable[Edge]) -> Iterator[str]:
    """Say which rules the facts break, each time they do; they are judged as a whole.

    Beside the rules of `draw`: facts lead from an earlier domain to a later one, both names belong to
    the domains of the relation, and a subject has one fact for each later domain.
    """
    edges = list(edges)
    order = {domain.key: place for place, domain in enumerate(world().domains)}
    for edge in edges:
        source, target = edge.relation.source, edge.relation.target
        if order[source.key] >= order[target.key]:
            yield f"{edge.key}: leads from {source.label} back to {target.label}"
        if edge.subject not in source.names:
            yield f"{edge.key}: {edge.subject} is no {source.label}"
        if edge.target not in target.names:
            yield f"{edge.key}: {edge.target} is no {target.label}"
    yield from _repeated("is asked twice", ((e.subject, e.relation.key) for e in edges))
    yield from _repeated("is reached twice", ((e.target, e.relation.key) for e in edges))
    yield from _repeated("has two facts", ((e.subject, e.relation.target.key) for e in edges))
    yield from _repeated("is the object twice of the verb", (pair for e in edges if (pair := _object(e))))


class _Taken:
    """What the facts so far have used up."""

    def __init__(self) -> None:
        self._reached: set[tuple[str, str]] = set()
        self._objects: set[tuple[str, str]] = set()

    def add(self, edge: Edge) -> None:
        self._reached.add((edge.target, edge.relation.key))
        if pair := _object(edge):
            self._objects.add(pair)

    def allows(self, edge: Edge) -> bool:
        reached = (edge.target, edge.relation.key) in self._reached
        return not reached and _object(edge) not in self._objects


def _object(edge: Edge) -> tuple[str, str] | None:
    """Return who is the object of a verb that relations use in both directions, and the verb."""
    verb = edge.relation.verb
    if verb not in world().two_way_verbs:
        return None
    return (edge.target if edge.relation.kind == "active" else edge.subject), verb


def _first_free(
    subject: str, relations: Sequence[Relation], targets: Sequence[str], taken: _Taken, rng: Random
) -> Edge | None:
    for relation in relations:
        free = [edge for target in targets if taken.allows(edge := Edge(subject, relation, target))]
        if free:
            return rng.choice(free)
    return None


def _repeated(what: str, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for (name, other), count in Counter(pairs).items():
        if count > 1:
            yield f"{name} {what}: {other}"
