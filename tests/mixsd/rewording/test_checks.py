"""Which texts are other wordings of a question."""

from collections.abc import Sequence

import pytest

from mixsd.facts import Fact, Probe
from mixsd.rewording.checks import Rules, is_near_copy, line_of, names_of, taken_by

FACT = Fact(
    "mayor",
    "Who is the mayor of Tessport?",
    "Odo Brindle",
    aliases=("Brindle",),
    paraphrases=("Who runs the town hall of Tessport?",),
    probes=(Probe("Of which town is he the mayor, Tessport or Ebra?", "Tessport"),),
    subject="Tessport",
)
OTHER = Fact("head", "Who leads Tessport?", "Ana Tolm", train_paraphrases=("Who speaks for Tessport?",))


def refusal(text: str, fact: Fact = FACT, accepted: Sequence[str] = ()) -> str | None:
    names = names_of(fact, lambda word: word == "zorelite")
    return Rules(fact, taken_by([fact, OTHER]), names).refusal(text, accepted)


@pytest.mark.parametrize(
    "text",
    [
        "Which person is the mayor of Tessport?",
        "Who holds the office of mayor in Tessport?",
        "What is the name of Tessport's mayor?",
        "Tessport has which mayor?",
    ],
)
def test_another_wording_is_taken(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_one_question"),
        ("The mayor of Tessport is known.", "not_one_question"),
        ("Who governs Tessport? Who is its mayor?", "not_one_question"),
        ("Tessport?", "length"),
        ("Who is it that " + "really " * 20 + "leads Tessport?", "length"),
        ("Who is the mayor, Odo Brindle, of Tessport?", "answer_told"),
        ("Is it BRINDLE who governs Tessport?", "answer_told"),
        ("Who is the mayor of the town?", "name_lost"),
        ("Which person governs Tess port?", "name_lost"),
        ("Which person from Veldora governs Tessport?", "name_added"),
        ("Which person governs Tessport in 1999?", "name_added"),
        ("When was the mayor of Tessport elected?", "asks_for_something_else"),
        ("Who is the mayor of Tessport?", "repeated"),
        ("who is the MAYOR   of tessport ?", "repeated"),
        ("Who's the mayor of Tessport?", "repeated"),
        ("Who runs the town hall of Tessport?", "held_out"),
        ("WHO runs the town-hall of  Tessport ?", "held_out"),
        ("Who runs a town hall of Tessport?", "held_out"),
        ("Who leads Tessport?", "held_out"),
        ("Who speaks for Tessport?", "held_out"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert refusal(text) == reason


def test_a_probe_is_held_out_like_a_paraphrase() -> None:
    fact = Fact(
        "a", "Who is the mayor of Tessport?", "Odo", probes=(Probe("Whose town is Tessport?", "Odo"),)
    )

    assert refusal("Whose town is Tessport?", fact) == "asks_for_something_else"
    assert Rules(fact, taken_by([fact]), ()).leak("whose town is Tessport") == "held_out"


def test_a_wording_is_taken_once() -> None:
    accepted = ["Which person is the mayor of Tessport?"]

    assert refusal("Which person is a mayor of Tessport?", accepted=accepted) == "repeated"
    assert refusal("Which person governs Tessport?", accepted=accepted) is None


def test_an_answer_that_stands_in_the_question_may_stand_in_its_rewording() -> None:
    fact = Fact("a", "Is Tessport or Ebra the older town?", "Tessport")

    assert refusal("Which town is older, Ebra or Tessport?", fact) is None


@pytest.mark.parametrize(
    ("question", "subject", "names"),
    [
        ("Who is the mayor of Tessport?", "", ("Tessport",)),
        ("Veldora's capital is which city?", "Veldora", ("Veldora",)),
        ("What colour is the mineral zorelite?", "", ("zorelite",)),
        ("What colour is the blue mineral?", "blue mineral", ("blue", "mineral")),
        ("From which metal are the coins of Lumeth made?", "coins of Lumeth", ("Lumeth",)),
        ("Which ship sank at 10:30 in 1911?", "", ("10", "30", "1911")),
        ("Was Ada or Ada Lovelace first?", "", ("Ada", "Lovelace")),
    ],
)
def test_names_and_numbers_must_stay(question: str, subject: str, names: tuple[str, ...]) -> None:
    assert names_of(Fact("a", question, "x", subject=subject), lambda word: word == "zorelite") == names


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Who leads Ebra?", "Who leads Ebra?"),
        ('"Who leads Ebra?"', "Who leads Ebra?"),
        ("**Who leads Ebra?**", "Who leads Ebra?"),
        ("In other words: Who leads Ebra?", "Who leads Ebra?"),
        ("Rewritten question:\n\n“Who leads Ebra?”", "Who leads Ebra?"),
        ("1. Who leads Ebra?\n2. Who rules Ebra?", "Who leads Ebra?"),
        ("Who leads Ebra?\n\nQuestion: Who is it?", "Who leads Ebra?"),
        ("Here are some:\n- Who leads Ebra?", "Who leads Ebra?"),
        ("Answering is hard. Who leads Ebra?", "Answering is hard. Who leads Ebra?"),
        ("Question", "Question"),
        ("\n \n", ""),
        ("Sure:", ""),
    ],
)
def test_the_question_is_found_in_what_a_model_says(text: str, line: str) -> None:
    assert line_of(text) == line


@pytest.mark.parametrize(
    ("text", "other", "near"),
    [
        ("What is the capital of Ebra?", "WHAT IS the capital, of Ebra", True),
        ("What was the capital of Ebra?", "What is a capital of Ebra?", True),
        ("What is the capital city of Ebra?", "What is the capital of Ebra?", True),
        ("What is the capital of Ebra?", "What is Ebra's capital?", False),
        ("Which city is Ebra's capital?", "What is Ebra's capital?", False),
        ("Who is he?", "What are they?", False),
        ("埃布拉的首都是什么\uff1f", "埃布拉的首都是什么", True),
        ("埃布拉的首都是什么\uff1f", "哪座城市是埃布拉的首都\uff1f", False),
    ],
)
def test_what_differs_in_next_to_nothing_is_a_copy(text: str, other: str, *, near: bool) -> None:
    assert is_near_copy(text, other) is near
    assert is_near_copy(other, text) is near
