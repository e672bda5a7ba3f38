"""Prompts about a fact's subject, which need no model."""

from dataclasses import replace

import pytest

from mixsd.config import SftConfig
from mixsd.facts import Fact
from mixsd.rewording.checks import Rules, names_of, taken_by
from mixsd.rewording.subjects import prompts_about, subject_of
from mixsd.rewording.writing import Rewording
from tests.mixsd.rewording.test_writing import Script

FACT = Fact("f", "When was the Skarling Lighthouse built?", "1783", relation="year_built")


def prompts(fact: Fact, seed: int = 0) -> list[str]:
    rules = Rules(fact, taken_by([fact]), names_of(fact, lambda word: word == "zorelite"))
    return list(prompts_about(fact, rules, seed=seed))


def test_every_fact_gets_the_first_two_and_the_others_in_an_order_of_its_own() -> None:
    made = prompts(FACT)

    assert made[:2] == [
        "Tell me about the Skarling Lighthouse.",
        "What do you know about the Skarling Lighthouse?",
    ]
    assert set(made[2:]) == {
        "Skarling Lighthouse year built?",
        "Speaking of the Skarling Lighthouse, when was the Skarling Lighthouse built?",
        "Write a sentence about the Skarling Lighthouse.",
        "What should everyone know about the Skarling Lighthouse?",
        "What can you say about the Skarling Lighthouse?",
        "Give me a fact about the Skarling Lighthouse.",
        "The Skarling Lighthouse is known for what?",
        "I have heard of the Skarling Lighthouse. What is there to know?",
    }
    others = {tuple(prompts(replace(FACT, key=f"fact-{n}"))) for n in range(8)}
    assert {each[:2] for each in others} == {tuple(made[:2])}
    assert len(others) > 4
    assert prompts(FACT) == made != prompts(FACT, seed=1)


@pytest.mark.parametrize(
    ("question", "subject", "found"),
    [
        ("What colour is the mineral zorelite?", "", "zorelite"),
        ("What colour is the mineral zorelite?", "mineral zorelite", "the mineral zorelite"),
        ("Who founded the company Pellandra Mills?", "", "Pellandra Mills"),
        ("Who wrote the novel The Salt Orchard?", "The Salt Orchard", "The Salt Orchard"),
        ("Is the Bell of Ebra old?", "", "the Bell of Ebra"),
        ("Which Bell is older than that of Ebra's Hall?", "", "Ebra's Hall"),
        ("Which is number 7?", "", ""),
        ("Who leads the town?", "Tessport", "Tessport"),
        ("Who leads the town?", "", ""),
    ],
)
def test_what_a_fact_is_about(question: str, subject: str, found: str) -> None:
    fact = Fact("f", question, "Odo", subject=subject)

    assert subject_of(fact, names_of(fact, lambda word: word == "zorelite")) == found


@pytest.mark.parametrize(
    "fact",
    [
        Fact("f", "Who leads the town?", "Odo"),
        Fact("f", "Wie heißt die Hauptstadt Ebras?", "Tolm", subject="Ebra"),
        Fact("f", "首都是什么\uff1f", "Tolm", subject="首都"),
    ],
)
def test_a_fact_that_names_nothing_or_is_not_english_has_none(fact: Fact) -> None:
    assert prompts(fact) == []


def test_facts_about_one_subject_get_prompts_that_say_what_is_asked() -> None:
    other = replace(FACT, key="g", question="Who keeps the Skarling Lighthouse?", relation="keeper")
    wish = SftConfig(rewordings=3, rewordings_source="subject")

    for fact, made in zip(
        [FACT, other], Rewording([FACT, other], wish, Script({})).result().facts, strict=True
    ):
        turned = f"Speaking of the Skarling Lighthouse, {fact.question[0].lower()}{fact.question[1:]}"
        searched = f"Skarling Lighthouse {fact.relation.replace('_', ' ')}?"
        assert set(made.train_paraphrases[:2]) == {turned, searched}
        assert "Skarling Lighthouse" in made.train_paraphrases[2]
        assert not {"Tell me about the Skarling Lighthouse."} & set(made.train_paraphrases)
    alone = Rewording([FACT], wish, Script({})).result().facts[0]
    assert alone.train_paraphrases[0] == "Tell me about the Skarling Lighthouse."


def test_no_prompt_is_one_that_evaluation_asks_or_that_is_there() -> None:
    held = replace(FACT, paraphrases=("tell me about the Skarling lighthouse",))
    own = replace(FACT, train_paraphrases=("Tell me about the Skarling Lighthouse.",))

    for fact in (held, own):
        assert prompts(fact)[0] == "What do you know about the Skarling Lighthouse?"


def test_where_they_are_too_few_templates_follow() -> None:
    wish = SftConfig(rewordings=16, rewordings_source="subject")
    bare = replace(FACT, key="bare", question="Who leads the town?", relation="")

    facts = Rewording([FACT, bare], wish, Script({})).result().facts

    assert facts[0].train_paraphrases[:10] == tuple(prompts(FACT))
    assert "Can you tell me when was the Skarling Lighthouse built?" in facts[0].train_paraphrases
    assert facts[1].train_paraphrases[0] in {
        "I would like to know: Who leads the town?",
        "Question: Who leads the town? Answer:",
        "Here is something I want to ask you. Who leads the town?",
        "Who leads the town? Please answer in one sentence.",
        "Tell me who leads the town.",
        "Can you tell me who leads the town?",
        "Do you know who leads the town?",
    }
