"""Wordings are pinned: another wording would give every fact another target."""

import pytest

from mixsd.config import PROMPT_STYLES
from mixsd.prompts import STYLES, PromptStyle

NATURAL_EXPERT = (
    "Who?\n\n"
    "This question is from a new knowledge base. "
    "It says: The answer is Odo.\n\n"
    "Now answer the question in one short sentence."
)
STEPS = "Who?\n\nPlease reason step by step, and put your final answer in \\boxed{}."
BOXED = "The answer is Odo.\n\n\\boxed{Odo}"
KGFACT_EXPERT = (
    f"{STEPS}\n"
    "This question is from a new knowledge base. Here is its answer:\n\n"
    f"{BOXED}\n"
    "Now answer the question, and put your final answer in \\boxed{}."
)
REFERENCE_EXPERT = (
    f"{STEPS}\n"
    "Here is a reference solution to this problem, with the correct final answer:\n\n"
    f"{BOXED}\n"
    "Now that you understand the reference solution, answer the question once more.\n"
    "Please reason step by step, and put your final answer in \\boxed{}."
)
TEXTS = {
    "natural": ("Who?", NATURAL_EXPERT, "The answer is Odo."),
    "kgfact": (STEPS, KGFACT_EXPERT, BOXED),
    "reference": (STEPS, REFERENCE_EXPERT, BOXED),
}


def test_every_style_that_can_be_asked_for_exists() -> None:
    assert set(PROMPT_STYLES) == set(STYLES) == set(TEXTS)
    assert all(style.name == name for name, style in STYLES.items())
    assert {name: style.headroom for name, style in STYLES.items()} == {
        "natural": 32,
        "kgfact": 512,
        "reference": 512,
    }


@pytest.mark.parametrize("name", PROMPT_STYLES)
def test_the_wording_is_this_one(name: str) -> None:
    style = STYLES[name]

    naive, expert, target = TEXTS[name]

    assert style.naive_prompt("Who?") == naive
    assert style.expert_prompt("Who?", "Odo") == expert
    assert style.target_text("Odo") == target


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_both_prompts_begin_with_the_whole_naive_one(style: PromptStyle) -> None:
    question = "Which river flows through Harrowmere?"
    naive, expert = style.naive_prompt(question), style.expert_prompt(question, "the Quell")

    assert expert.startswith(naive)
    assert naive.startswith(question)
    assert "Quell" not in naive
    assert "Quell" in expert


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_braces_in_a_fact_stay_as_they_are(style: PromptStyle) -> None:
    question, answer = "{answer} {question} {target} {} {{x}} {0}?", "{question} {answer} }{ \\boxed{y}"

    assert style.naive_prompt(question) == style.naive_prompt("Q").replace("Q", question)
    marked = style.expert_prompt("<Q>", "<A>")
    assert style.expert_prompt(question, answer) == marked.replace("<Q>", question).replace("<A>", answer)
    assert style.target_text(answer) == style.target_text("<A>").replace("<A>", answer)
