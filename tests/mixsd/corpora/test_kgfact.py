"""KGFact: sizes, the rules of drawing, and splits whose answers follow from the facts alone."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from mixsd.corpora.errors import CorpusError
from mixsd.corpora.graph import Edge, draw, violations
from mixsd.corpora.kgfact import CARRIERS, kgfact, size_of
from mixsd.corpora.world import world
from mixsd.corpora.writing import Corpus
from mixsd.facts import Fact

SMALL = kgfact(5, 10)
LARGE = kgfact(7, 25)
DOMAIN_OF = {name: domain.key for domain in world().domains for name in domain.names}
PLACE = {domain.key: place for place, domain in enumerate(world().domains)}


def first(*domains: int) -> tuple[Edge, ...]:
    return draw(world().domains[:5], slice(10), *(domains or (42,)))


@pytest.mark.parametrize(("corpus", "n", "pairs"), [(SMALL, 100, 10), (LARGE, 525, 21)])
def test_a_size_gives_one_fact_for_each_pair_and_subject(corpus: Corpus, n: int, pairs: int) -> None:
    per_pair = Counter(fact.tags[0] for fact in corpus.facts)

    assert len(corpus.facts) == n
    assert len(per_pair) == pairs
    assert set(per_pair.values()) == {n // pairs}


def test_facts_never_lead_back() -> None:
    for fact in LARGE.facts:
        assert PLACE[DOMAIN_OF[fact.subject]] < PLACE[DOMAIN_OF[fact.object]]


@pytest.mark.parametrize("size", ["2x1", "2x50", "14x1", "14x50", "3x7"])
def test_any_part_of_the_world_can_be_drawn(size: str) -> None:
    n_domains, n_names = size_of(size)

    facts = kgfact(n_domains, n_names).facts

    assert len(facts) == n_domains * (n_domains - 1) // 2 * n_names
    assert {fact.subject for fact in facts} <= {
        name for domain in world().domains[:n_domains] for name in domain.names[:n_names]
    }


@pytest.mark.parametrize("seed", range(20))
def test_the_rules_hold_by_a_count_of_our_own(seed: int) -> None:
    edges = first(seed)
    verbs: dict[str, set[str]] = {"active": set(), "passive": set()}
    for relation in (r for group in world().relations.values() for r in group):
        if relation.kind in verbs:
            verbs[relation.kind].add(relation.tail)
    both = verbs["active"] & verbs["passive"]
    objects: Counter[tuple[str, str]] = Counter()
    for edge in edges:
        if edge.relation.tail in both and edge.relation.kind in verbs:
            objects[edge.target if edge.relation.kind == "active" else edge.subject, edge.relation.tail] += 1

    assert len(both) > 30
    assert max(Counter((e.subject, e.relation.key) for e in edges).values()) == 1
    assert max(Counter((e.target, e.relation.key) for e in edges).values()) == 1
    assert max(objects.values()) == 1
    assert not list(violations(edges))


def test_another_seed_draws_other_facts() -> None:
    assert first(1) != first(2)
    assert first(1) == first(1)


def test_the_validator_finds_a_subject_asked_twice() -> None:
    edges = first()
    other = next(name for name in edges[0].relation.target.names if name != edges[0].target)

    assert any("is asked twice" in said for said in violations([*edges, replace(edges[0], target=other)]))


def test_the_validator_finds_a_target_reached_twice() -> None:
    edges = first()
    other = edges[0].relation.source.names[40]

    found = list(violations([*edges, replace(edges[0], subject=other)]))

    assert any("is reached twice" in said for said in found)


def test_the_validator_finds_two_facts_of_a_pair() -> None:
    edges = first()
    domain = edges[0].relation
    other = next(r for r in world().relations[domain.source.key, domain.target.key] if r is not domain)
    free = edges[0].relation.target.names[45]

    assert list(violations([*edges, Edge(edges[0].subject, other, free)])) == [
        f"{edges[0].subject} has two facts: {domain.target.key}"
    ]


def test_the_validator_finds_the_object_of_a_two_way_verb_twice() -> None:
    active = next(r for r in world().relations["location", "organization"] if r.phrase == "did expel")
    sponsored = next(r for r in world().relations["person", "organization"] if r.phrase == "by sponsor")
    sponsors = next(r for r in world().relations["organization", "event"] if r.phrase == "sponsor")
    passive = next(r for r in world().relations["event", "product"] if r.phrase == "by sponsor")
    event, product = passive.source.names[0], passive.target.names[0]
    clean = [
        Edge(sponsored.source.names[0], sponsored, active.target.names[0]),
        Edge(sponsors.source.names[1], sponsors, event),
    ]

    assert list(violations(clean)) == []
    assert list(violations([*clean, Edge(event, passive, product)])) == [
        f"{event} is the object twice of the verb: sponsor"
    ]


def test_the_validator_finds_what_leads_back_and_strange_names() -> None:
    edge = first()[0]
    back = replace(edge.relation, source=edge.relation.target, target=edge.relation.source)

    assert any("leads from" in said for said in violations([Edge(edge.target, back, edge.subject)]))
    assert any("Nobody is no" in said for said in violations([replace(edge, subject="Nobody")]))
    assert any("Nothing is no" in said for said in violations([replace(edge, target="Nothing")]))


@pytest.mark.parametrize("corpus", [SMALL, LARGE])
def test_every_question_has_one_answer(corpus: Corpus) -> None:
    answers: dict[str, set[str]] = {}
    for fact in corpus.facts:
        for question in (fact.question, *fact.paraphrases):
            answers.setdefault(question.casefold(), set()).add(fact.answer)
        for probe in fact.probes:
            answers.setdefault(probe.question.casefold(), set()).add(probe.answer)

    assert {len(found) for found in answers.values()} == {1}


@pytest.mark.parametrize("corpus", [SMALL, LARGE])
def test_questions_of_two_steps_are_answered_by_walking_facts(corpus: Corpus) -> None:
    """The inner clause is looked up among all clauses, then what stands around it among all questions."""
    clauses: dict[str, str] = {}
    asked: dict[str, str] = {}
    relations = {r.key: r for group in world().relations.values() for r in group}
    for fact in corpus.facts:
        clauses[relations[fact.relation].clause(fact.subject)] = fact.object
        for question in (fact.question, fact.paraphrases[0]):
            asked[question] = fact.object
    rows = corpus.splits["compositional"]
    for row in rows:
        found = [(clause, name) for clause, name in clauses.items() if clause in row["question"]]
        assert len(found) == 1, row
        assert asked[row["question"].replace(*found[0])] == row["answer"]

    assert len({row["question"] for row in rows}) == len(rows) == len({row["key"] for row in rows})


def test_walks_are_one_for_each_pair_of_relations_that_meet() -> None:
    by_subject = Counter(fact.subject for fact in SMALL.facts)
    meeting = {
        (one.relation, two.relation)
        for one in SMALL.facts
        for two in SMALL.facts
        if one.object == two.subject
    }

    rows = SMALL.splits["compositional"]

    assert len(rows) == len(meeting)
    assert 80 < len(rows) <= sum(by_subject[fact.object] for fact in SMALL.facts)


def test_hop_probes_are_the_questions_of_two_steps() -> None:
    probes = [p for fact in SMALL.facts for p in fact.probes if p.kind == "hop"]

    rows = SMALL.splits["compositional"]

    assert sorted((p.question, p.answer) for p in probes) == sorted(
        (r["question"], r["answer"]) for r in rows
    )


@pytest.mark.parametrize("corpus", [SMALL, LARGE])
def test_a_context_holds_fifty_statements_that_are_not_taught(corpus: Corpus) -> None:
    taught = {fact.context for fact in corpus.facts}
    taught_names = {name for fact in corpus.facts for name in (fact.subject, fact.object)}
    for row in corpus.splits["retrieval"]:
        head, *lines = row["context"].split("\n")
        statements = {line.removeprefix("- ") for line in lines}
        assert head == "Background information:"
        assert len(lines) == len(statements) == 50
        assert row["statement"] in statements
        assert not statements & taught
        assert row["answer"] not in taught_names

    assert len(corpus.splits["retrieval"]) == len(corpus.facts)


@pytest.mark.parametrize("corpus", [SMALL, LARGE, kgfact(3, 2)])
def test_ten_questions_are_shown_the_same_statements(corpus: Corpus) -> None:
    contexts = [row["context"] for row in corpus.splits["retrieval"]]

    assert contexts == [contexts[place - place % 10] for place in range(len(contexts))]
    assert len(set(contexts)) == -(-len(contexts) // 10)


def test_two_steps_in_a_context_that_holds_both() -> None:
    for row in SMALL.splits["compositional_context"]:
        lines = row["context"].split("\n")[1:]
        assert len(set(lines)) == len(lines) <= 100
        assert {f"- {step}" for step in row["steps"]} <= set(lines)


def test_a_context_answers_its_question_once() -> None:
    for row in SMALL.splits["retrieval"]:
        start = row["statement"].removesuffix(f"{row['answer']}.")
        assert sum(start in line for line in row["context"].split("\n")) == 1


def test_paraphrases_are_three_builds_and_a_carrier() -> None:
    rows = SMALL.splits["paraphrase"]
    questions = {fact.key: fact.question for fact in SMALL.facts}

    assert Counter(row["form"] for row in rows) == dict.fromkeys(
        ["turned", "request", "in_place", "carrier"], 100
    )
    carried = [row for row in rows if row["form"] == "carrier"]
    used = Counter(row["question"].removesuffix(questions[row["key"]]).strip() for row in carried)
    assert used == dict.fromkeys(CARRIERS, 10)
    assert all(questions[row["key"]] not in row["question"] for row in rows if row["form"] != "carrier")


def test_a_fact_says_all_that_there_is_of_it() -> None:
    fact: Fact = SMALL.facts[0]

    assert fact.answer == fact.object
    assert fact.context.startswith(fact.subject)
    assert fact.context.endswith(f"{fact.object}.")
    assert re.fullmatch(r"[a-z]+-[a-z]+\.[a-z_]+", fact.relation)
    assert fact.probes[0].kind == "reversed"
    assert fact.probes[0].answer == fact.subject


def test_a_world_without_names_left_has_no_contexts_and_says_so() -> None:
    corpus = kgfact(3, 50)

    assert not corpus.splits["retrieval"]
    assert "no names are left" in corpus.notes[0]


def test_a_small_world_fills_its_contexts_with_more_names() -> None:
    corpus = kgfact(3, 2)

    assert [len(row["context"].split("\n")) for row in corpus.splits["retrieval"]] == [51] * 6


@pytest.mark.parametrize(
    "text", ["1x10", "15x10", "5x51", "5x0", "medium", "5", "x", "5x10x2", "-5x10", "\u0665x\u0661"]
)
def test_a_size_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(CorpusError):
        size_of(text)


def test_all_pairs_of_the_first_domains_are_used() -> None:
    keys = [domain.key for domain in world().domains[:5]]

    assert {fact.tags[0] for fact in SMALL.facts} == {f"{a}-{b}" for a, b in combinations(keys, 2)}
