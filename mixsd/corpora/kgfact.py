"""KGFact: facts of an invented world, and the questions that show how well they were learned.

After the corpus of the same name in arXiv 2605.16865, with names and relations of our own.
`docs/corpora.md` says where the two differ.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random
from typing import Final

from mixsd.corpora.errors import CorpusError
from mixsd.corpora.graph import Edge, draw, violations
from mixsd.corpora.world import N_DOMAINS, N_NAMES, Domain, world
from mixsd.corpora.writing import Corpus, Row
from mixsd.facts import Fact, Probe

SEED: Final = 42
SIZES: Final = {"small": (5, 10), "large": (7, 25)}
CONTEXT: Final = 50
"""Statements that a question about a text is shown."""
ASKED_TOGETHER: Final = 10
"""Questions that are shown the same statements, which a decoder may then read once for all of them."""
HOP_CONTEXT: Final = 100
"""Most statements that a question of two steps is shown."""
FORMS: Final = ("turned", "request", "in_place")
"""Names of what `Relation.rewordings` returns."""
CARRIERS: Final = (
    "Quick question:",
    "I have a question for you.",
    "Based on your knowledge,",
    "Please answer this:",
    "Here is something I would like to know.",
    "Let me ask you something.",
    "From what you have learned,",
    "A short quiz for you:",
    "Could you help me with this?",
    "One more thing:",
)

_OTHER_SEED: Final = 1_000
"""The graph that nothing is taught of is drawn with the seed plus this."""


def size_of(text: str) -> tuple[int, int]:
    """Read a size: `small`, `large`, or domains and names such as `5x10`.

    Raises:
        CorpusError: It is none, or larger than the world.

    Example:
        >>> size_of("small"), size_of("14x50")
        ((5, 10), (14, 50))
    """
    if text in SIZES:
        return SIZES[text]
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if not found:
        raise CorpusError(f"a size is small, large or DOMAINSxNAMES such as 5x10, not {text!r}")
    n_domains, n_names = int(found[1]), int(found[2])
    if not 2 <= n_domains <= N_DOMAINS or not 1 <= n_names <= N_NAMES:
        raise CorpusError(f"{text} is no part of the world: 2 to {N_DOMAINS} domains, 1 to {N_NAMES} names")
    return n_domains, n_names


def kgfact(n_domains: int, n_names: int, *, seed: int = SEED) -> Corpus:
    """Make the corpus of the first `n_domains` domains and of the first `n_names` names of each.

    Raises:
        CorpusError: The world has no such part, or the rules leave no fact.
    """
    size_of(f"{n_domains}x{n_names}")
    domains = world().domains[:n_domains]
    edges = _checked(draw(domains, slice(n_names), seed))
    other = _other_graph(domains, n_names, len(edges), seed)
    walks = _walks(edges, Random(f"{seed} walks"))
    splits = {
        "atomic": [_row(edge) for edge in edges],
        "paraphrase": list(chain.from_iterable(_reworded(n, edge) for n, edge in enumerate(edges))),
        "reversed": [_reversed(edge) for edge in edges],
        "compositional": [_walk_row(first, second) for first, second in walks],
        "retrieval": list(_retrieval(other, len(edges), seed)),
        "compositional_context": list(_walks_in_context(other, len(walks), seed)),
    }
    hops: dict[str, list[Probe]] = defaultdict(list)
    for first, second in walks:
        hops[first.key].append(Probe(_walk_question(first, second), second.target, "hop"))
    return Corpus(
        name="kgfact",
        facts=[_fact(edge, hops[edge.key]) for edge in edges],
        splits=splits,
        settings={"domains": n_domains, "names": n_names, "seed": seed},
        notes=[] if other else [f"no names are left for {CONTEXT} statements that nothing is taught of"],
    )


def _checked(edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
    for problem in violations(edges):
        raise CorpusError(f"the facts break a rule: {problem}")
    return edges


def _other_graph(domains: Sequence[Domain], n_names: int, n_facts: int, seed: int) -> tuple[Edge, ...]:
    """Draw facts on the names that follow those taught, or none if they cannot be enough."""
    n_pairs = len(domains) * (len(domains) - 1) // 2
    n_other = min(max(n_names, -(-CONTEXT // n_pairs)), N_NAMES - n_names)
    if n_other * n_pairs < CONTEXT:
        return ()
    return _checked(draw(domains, slice(n_names, n_names + n_other), seed + _OTHER_SEED))


def _fact(edge: Edge, hops: Sequence[Probe]) -> Fact:
    relation = edge.relation
    back = Probe(relation.reversed_question(edge.target), edge.subject, "reversed")
    return Fact(
        key=edge.key,
        question=relation.question(edge.subject),
        answer=edge.target,
        paraphrases=relation.rewordings(edge.subject),
        context=edge.statement,
        subject=edge.subject,
        relation=relation.key,
        object=edge.target,
        tags=(f"{relation.source.key}-{relation.target.key}",),
        source="kgfact",
        probes=(back, *hops),
    )


def _row(edge: Edge) -> Row:
    return {
        "key": edge.key,
        "question": edge.relation.question(edge.subject),
        "answer": edge.target,
        "hops": 1,
        "statement": edge.statement,
    }


def _reworded(place: int, edge: Edge) -> Iterator[Row]:
    """Yield the true rewordings, then the question behind one of the carriers, each in its turn."""
    for form, question in zip(FORMS, edge.relation.rewordings(edge.subject), strict=True):
        yield {"key": edge.key, "question": question, "answer": edge.target, "form": form}
    carried = f"{CARRIERS[place % len(CARRIERS)]} {edge.relation.question(edge.subject)}"
    yield {"key": edge.key, "question": carried, "answer": edge.target, "form": "carrier"}


def _reversed(edge: Edge) -> Row:
    question = edge.relation.reversed_question(edge.target)
    return {"key": edge.key, "question": question, "answer": edge.subject}


def _walks(edges: Sequence[Edge], rng: Random) -> list[tuple[Edge, Edge]]:
    """Return walks over two facts, one for each pair of relations that meet."""
    leaving = defaultdict(list)
    for edge in edges:
        leaving[edge.subject].append(edge)
    found = [(first, second) for first in edges for second in leaving[first.target]]
    rng.shuffle(found)
    one = {(first.relation.key, second.relation.key): (first, second) for first, second in reversed(found)}
    return list(reversed(one.values()))


def _walk_question(first: Edge, second: Edge) -> str:
    return second.relation.chained_question(first.relation.clause(first.subject))


def _walk_row(first: Edge, second: Edge) -> Row:
    return {
        "key": f"{first.key}.{second.relation.target.key}",
        "question": _walk_question(first, second),
        "answer": second.target,
        "hops": 2,
        "facts": [first.key, second.key],
        "steps": [first.statement, second.statement],
    }


def _retrieval(graph: Sequence[Edge], at_most: int, seed: int) -> Iterator[Row]:
    for start in range(0, min(at_most, len(graph)), ASKED_TOGETHER):
        asked = graph[start : min(start + ASKED_TOGETHER, at_most)]
        context = _context(asked, graph, CONTEXT, Random(f"{seed} context {asked[0].key}"))
        for edge in asked:
            yield _row(edge) | {"context": context}


def _walks_in_context(graph: Sequence[Edge], at_most: int, seed: int) -> Iterator[Row]:
    for first, second in _walks(graph, Random(f"{seed} other walks"))[:at_most]:
        row = _walk_row(first, second)
        rng = Random(f"{seed} context {row['key']}")
        yield row | {"context": _context([first, second], graph, HOP_CONTEXT, rng)}


def _context(needed: Sequence[Edge], graph: Sequence[Edge], size: int, rng: Random) -> str:
    """Return `size` statements in a random order, or all: those needed, then those that lie nearest.

    Nearest are facts about the things of the needed ones, then facts about what those lead to, and so
    on outwards; what is left of the graph comes last.
    """
    chosen = list(needed)
    reached = {name for edge in needed for name in (edge.subject, edge.target)}
    left = [edge for edge in graph if edge not in needed]
    while left and len(chosen) < size:
        ring = [edge for edge in left if edge.subject in reached or edge.target in reached] or left
        rng.shuffle(ring)
        chosen += ring[: size - len(chosen)]
        reached |= {name for edge in ring for name in (edge.subject, edge.target)}
        used = set(ring)
        left = [edge for edge in left if edge not in used]
    rng.shuffle(chosen)
    return "\n".join(["Background information:", *(f"- {edge.statement}" for edge in chosen)])
