"""Frames around a question, which need no model."""

from dataclasses import replace

import pytest

from mixsd.facts import Fact
from mixsd.rewording.checks import Rules, taken_by
from mixsd.rewording.templates import beginning, clause, wordings_of

FACT = Fact("capital", "What is the capital of Ebra?", "Tolm")


def wordings(fact: Fact, seed: int = 0) -> list[str]:
    return list(wordings_of(fact, Rules(fact, taken_by([fact]), ()), seed=seed))


def test_a_question_gets_every_frame_that_suits_it() -> None:
    assert set(wordings(FACT)) == {
        "I would like to know: What is the capital of Ebra?",
        "Question: What is the capital of Ebra? Answer:",
        "Here is something I want to ask you. What is the capital of Ebra?",
        "What is the capital of Ebra? Please answer in one sentence.",
        "Tell me what the capital of Ebra is.",
        "Can you tell me what the capital of Ebra is?",
        "Do you know what the capital of Ebra is?",
        "Complete this sentence: The capital of Ebra is ...",
    }
    assert len(wordings(replace(FACT, question="Which river flows through Ebra?"))) == 7


def test_their_order_belongs_to_fact_and_seed() -> None:
    assert wordings(FACT) == wordings(FACT)
    firsts = {wordings(replace(FACT, key=f"fact-{n}"))[0] for n in range(30)}
    assert len(firsts) > 4
    assert wordings(FACT, seed=1) != wordings(FACT)
    assert set(wordings(FACT, seed=1)) == set(wordings(FACT))


@pytest.mark.parametrize(
    "paraphrase", ["tell me, what the capital of Ebra IS", "Tell me what a capital of Ebra is."]
)
def test_a_frame_that_evaluation_asks_is_left_out(paraphrase: str) -> None:
    held = wordings(replace(FACT, paraphrases=(paraphrase,)))

    assert "Tell me what the capital of Ebra is." not in held
    assert "Question: What is the capital of Ebra? Answer:" in held


def test_a_frame_that_another_fact_is_asked_with_is_left_out() -> None:
    other = Fact("other", "Tell me what the capital of Ebra is.", "Veyl")

    made = list(wordings_of(FACT, Rules(FACT, taken_by([FACT, other]), ()), seed=0))

    assert len(made) == 7
    assert other.question not in made


@pytest.mark.parametrize(
    "question",
    [
        "Name the capital of Ebra.",
        "Wie hei\u00dft die Hauptstadt?",
        "首都是什么\uff1f",
        "Who? What is it?",
        "?",
    ],
)
def test_what_is_no_single_english_question_gets_none(question: str) -> None:
    assert wordings(replace(FACT, question=question)) == []


def test_braces_stay_as_they_are() -> None:
    assert all("{0} of {}" in text for text in wordings(replace(FACT, question="What does {0} of {} mean?")))


@pytest.mark.parametrize(
    ("question", "as_clause"),
    [
        ("Who is Ebra's mayor?", "who Ebra's mayor is"),
        ("What are the main rivers of Ebra?", "what the main rivers of Ebra are"),
        ("When was the bridge of Ebra built?", "when was the bridge of Ebra built"),
        ("What is the ore of Ebra used for?", "what is the ore of Ebra used for"),
        ("What was the town of Ebra called?", "what was the town of Ebra called"),
        ("Who is playing at Ebra?", "who is playing at Ebra"),
        ("In which sea is it?", "in which sea is it"),
        ("Ebra lies in which sea?", "Ebra lies in which sea"),
    ],
)
def test_a_verb_goes_to_the_end_only_where_it_belongs(question: str, as_clause: str) -> None:
    assert clause(question) == as_clause


def test_a_sentence_is_begun_where_its_words_are_known() -> None:
    assert beginning("Who was the first queen of Ebra?") == "The first queen of Ebra was"
    assert beginning("Where is the town of Ebra?") == ""
