"""The world that KGFact draws from: sizes, names that are told apart, and forms that are English."""

from itertools import combinations, pairwise

import pytest

from mixsd.corpora.world import Relation, relation_of, world

RELATIONS = [relation for group in world().relations.values() for relation in group]


def named(phrase: str, source: str, target: str) -> Relation:
    return next(r for r in world().relations[source, target] if r.phrase == phrase)


def test_there_are_14_domains_of_50_names_and_all_names_differ() -> None:
    names = [name for domain in world().domains for name in domain.names]

    assert [len(domain.names) for domain in world().domains] == [50] * 14
    assert len({name.casefold() for name in names}) == 700


def test_no_name_holds_the_invented_word_of_another() -> None:
    kinds = {name.split()[1] for domain in world().domains[1:] for name in domain.names}
    words = [word for domain in world().domains for name in domain.names for word in name.split()]
    invented = [word for word in words if word not in kinds]

    assert len(invented) == len(set(invented)) == 750


def test_each_ordered_pair_has_ten_relations_and_all_910_differ() -> None:
    keys = [domain.key for domain in world().domains]

    assert set(world().relations) == set(combinations(keys, 2))
    assert {len(group) for group in world().relations.values()} == {10}
    assert len({relation.key for relation in RELATIONS}) == 910
    assert all(len({r.statement("A", "B") for r in group}) == 10 for group in world().relations.values())


def test_a_verb_and_its_object() -> None:
    relation = named("train", "organization", "profession")

    assert (
        relation.statement("Sanry Guild", "Liorell Weaver")
        == "Sanry Guild trains the profession Liorell Weaver."
    )
    assert relation.question("Sanry Guild") == "What profession does Sanry Guild train?"
    assert relation.clause("Sanry Guild") == "the profession that Sanry Guild trains"
    assert (
        relation.reversed_question("Liorell Weaver")
        == "Which organization trains the profession Liorell Weaver?"
    )
    assert relation.rewordings("Sanry Guild") == (
        "Which profession is trained by Sanry Guild?",
        "Name the profession that Sanry Guild trains.",
        "Sanry Guild trains which profession?",
    )


def test_the_past_of_an_irregular_verb() -> None:
    relation = named("did write", "person", "work")

    assert relation.statement("A", "B") == "A wrote the media work B."
    assert relation.question("A") == "What media work did A write?"
    assert relation.turned_question("A") == "Which media work was written by A?"


def test_a_passive_turns_active() -> None:
    relation = named("was by fire", "person", "organization")

    assert relation.statement("A", "B") == "A was fired by the organization B."
    assert relation.question("A") == "What organization was A fired by?"
    assert relation.clause("A") == "the organization that fired A"
    assert relation.turned_question("A") == "Which organization fired A?"
    assert relation.reversed_question("B") == "Which person was fired by the organization B?"


@pytest.mark.parametrize(
    ("phrase", "source", "target", "statement", "question", "clause", "turned"),
    [
        (
            "was born in",
            "person",
            "location",
            "A was born in the location B.",
            "What location was A born in?",
            "the location in which A was born",
            "In which location was A born?",
        ),
        (
            "did grow up in",
            "person",
            "location",
            "A grew up in the location B.",
            "What location did A grow up in?",
            "the location in which A grew up",
            "In which location did A grow up?",
        ),
        (
            "take place in",
            "event",
            "period",
            "A takes place in the time period B.",
            "What time period does A take place in?",
            "the time period in which A takes place",
            "In which time period does A take place?",
        ),
    ],
)
def test_prepositions_end_a_question_or_begin_it(
    phrase: str, source: str, target: str, statement: str, question: str, clause: str, turned: str
) -> None:
    relation = named(phrase, source, target)

    assert relation.statement("A", "B") == statement
    assert relation.question("A") == question
    assert relation.clause("A") == clause
    assert relation.turned_question("A") == turned


def test_every_rewording_is_another_text_and_names_subject_and_domain() -> None:
    for relation in RELATIONS:
        forms = [relation.question("Xy"), *relation.rewordings("Xy")]
        assert len({form.casefold() for form in forms}) == 4, relation.key
        assert all("Xy" in form and relation.target.label in form for form in forms), relation.key


def test_forms_are_clean_english_on_the_surface() -> None:
    for relation in RELATIONS:
        forms = [
            relation.statement("Xy", "Zw"),
            relation.question("Xy"),
            relation.reversed_question("Zw"),
            *relation.rewordings("Xy"),
        ]
        for form in forms:
            words = form.rstrip(".?").split(" ")
            assert "" not in words, form
            assert form[0].isupper(), form
            assert all(one != other for one, other in pairwise(words)), form


@pytest.mark.parametrize("phrase", ["is", "is fond", "live nowhere", "by", "is run by", "did"])
def test_a_phrase_of_another_form_is_refused(phrase: str) -> None:
    person, location = world().domains[:2]

    with pytest.raises((ValueError, IndexError), match="cannot be read"):
        relation_of(person, location, phrase)
