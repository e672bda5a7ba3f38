"""Modes of scoring and kinds of mistakes, on answers judged by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixsd.config import SCORERS
from mixsd.evaluation.mistakes import HELD_OUT, TAUGHT, Names, of_held_out, of_taught
from mixsd.facts import Fact
from mixsd.scoring import first_sentence, has_answer, number_in, plain, scorer
from tests.mixsd import hand_judged
from tests.mixsd.hand_judged import MODES, HeldOut, Judged

NAMES = Names(hand_judged.FACTS)


@pytest.mark.parametrize("case", hand_judged.TAUGHT, ids=lambda case: case.text[:40])
def test_every_mode_judges_as_a_person_would(case: Judged) -> None:
    found = {mode: scorer(MODES[mode])(case.text, case.counted) for mode in case.right + case.wrong}

    assert found == dict.fromkeys(case.right, True) | dict.fromkeys(case.wrong, False)


@pytest.mark.parametrize(
    "case", [case for case in hand_judged.TAUGHT if case.kinds], ids=lambda case: case.text[:40]
)
def test_a_mistake_about_a_fact_is_of_the_kind_that_a_person_sees(case: Judged) -> None:
    found = {
        mode: of_taught(case.text, case.fact, case.fact.question, case.counted, MODES[mode], NAMES)
        for mode, _ in case.kinds
    }

    assert found == dict(case.kinds)
    assert set(found) <= set(case.wrong) | {"N", "L", "B"}
    assert set(found.values()) <= set(TAUGHT)


@pytest.mark.parametrize("case", hand_judged.UNTAUGHT, ids=lambda case: f"{case.text} {case.mode}"[:50])
def test_a_mistake_about_something_else_is_of_the_kind_that_a_person_sees(case: HeldOut) -> None:
    mode = MODES[case.mode]

    found = of_held_out(case.text, case.base, case.question, case.answers, mode, NAMES)

    assert found == case.kind
    assert found in HELD_OUT
    assert case.text is None or not scorer(mode)(case.text, case.answers)


def test_the_table_is_large_and_knows_every_mode_and_kind() -> None:
    kinds = {kind for case in hand_judged.TAUGHT for _, kind in case.kinds}
    kinds |= {case.kind for case in hand_judged.UNTAUGHT}
    for verdicts in ("right", "wrong"):
        assert set("".join(getattr(case, verdicts) for case in hand_judged.TAUGHT)) == set(MODES)

    assert len(hand_judged.TAUGHT) >= 60
    assert set(MODES.values()) == set(SCORERS)
    assert kinds == {*map(str, HELD_OUT), *map(str, TAUGHT)}


def test_the_base_model_neither_collapses_nor_leaks_a_word_against_itself() -> None:
    for text in ("The answer is Lyon.", "The capital of France is Quelle."):
        found = of_held_out(text, text, hand_judged.CAPITAL, ("Paris",), "contains", NAMES)
        assert found == "genuine"


WORDS = st.sampled_from(["Odo", "Brindle", "not", "is", "or", "never", "the", "mayor", ".", ",", "\n", "it"])


@given(st.lists(WORDS, max_size=14))
def test_a_stricter_mode_takes_nothing_that_a_laxer_one_refuses(words: list[str]) -> None:
    text = " ".join(words)
    modes = [
        scorer(mode)(text, ("Odo Brindle",)) for mode in ("first_sentence", "contains_strict", "contains")
    ]

    assert modes == sorted(modes)


@given(st.text(max_size=60), st.text(max_size=12))
def test_every_mode_judges_any_text(text: str, answer: str) -> None:
    for mode in SCORERS:
        right = scorer(mode)(text, (answer,))
        assert isinstance(right, bool)
        assert isinstance(has_answer(mode, text), bool)
        if not right:
            assert of_taught(text, Fact("a", "?", answer), "?", (answer,), mode, NAMES) in TAUGHT
            assert of_held_out(text, text, "?", (answer,), mode, NAMES) in HELD_OUT


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,250.50", 1250.5),
        ("$ -3 $", -3.0),
        (r"\dfrac{-3}{4}", -0.75),
        (r"-\frac{1}{2}", -0.5),
        (r"\frac{1}{0}", None),
        ("1e3", 1000.0),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("12 apples", None),
        ("", None),
    ],
)
def test_a_number_is_one_however_it_is_written(text: str, value: float | None) -> None:
    assert number_in(text) == value


def test_wrappers_are_peeled_and_what_is_not_closed_stays() -> None:
    assert plain(r"{\mathrm{\text{Odo}}}  Brindle") == "{odo} brindle"
    assert plain(r"\text{Odo") == r"\text{odo"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("\n\n It is Odo. \n He is old.", "It is Odo."),
        ("Is it? Yes!", "Is it?"),
        ("It is Odo", "It is Odo"),
        ("Version 3.5 is out. Really.", "Version 3.5 is out."),
        ('He said "no." Then he left.', 'He said "no.'),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_where_it_ends(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_names_of_many_facts_are_found_by_their_words() -> None:
    facts = [Fact(f"f{n}", f"Who is {n}?", f"Name Number{n}") for n in range(3000)]

    found = set(Names(facts).in_text("It was name number7, or was it Number 8, or Name Number2999?"))

    assert found == {"name number7", "name number2999"}
