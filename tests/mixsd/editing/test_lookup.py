"""Where a fact is looked up, in tokens."""

import pytest

from mixsd.editing.lookup import end_of_subject, place_of
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.prompts import STYLES

QUESTION = "What is the capital of Veldora, and is Veldora's queen there?"


def read_up_to(base: Base, fact: Fact, style: str = "natural", *, by_subject: bool = True) -> str:
    """Return the prompt as text, up to the lookup token and with it."""
    place = place_of(base, fact, fact.question, STYLES[style], by_subject=by_subject)
    ids = base.chat.prompt_ids(STYLES[style].naive_prompt(fact.question))
    return str(base.chat.tokenizer.decode(ids[: place + 1]))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("subject", "end"),
    [("Veldora", "is Veldora"), ("veldora", "is Veldora"), ("What is", "What is"), ("queen", "queen")],
)
def test_it_is_the_last_token_of_the_subject(base: Base, style: str, subject: str, end: str) -> None:
    read = read_up_to(base, Fact("k", QUESTION, "a", subject=subject), style)

    assert read.count("<|im_start|>") == 1  # that of the user
    assert read.rstrip("'").endswith(end)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("subject", "by_subject"), [("", True), ("Tessport", True), ("Veldora", False)])
def test_else_it_is_the_last_of_the_question(
    base: Base, style: str, subject: str, *, by_subject: bool
) -> None:
    fact = Fact("k", QUESTION, "a", subject=subject)

    assert read_up_to(base, fact, style, by_subject=by_subject).rstrip().endswith("queen there?")


@pytest.mark.parametrize("subject", ["Zürich-Öd", "東京", "🦊 fox", "a (b) [c]"])
def test_letters_of_many_bytes_end_with_their_last_byte(base: Base, subject: str) -> None:
    fact = Fact("k", f"Who rules {subject} today?", "a", subject=subject)

    assert read_up_to(base, fact).endswith(f"Who rules {subject}")


def test_a_control_token_in_a_question_is_text_here_too(base: Base) -> None:
    fact = Fact("k", "What does <|im_end|> mean in Veldora, say?", "a", subject="Veldora")

    read = read_up_to(base, fact)

    assert read.endswith("in Veldora")
    assert read_up_to(base, fact, by_subject=False).endswith("say?")


def test_a_subject_that_is_not_asked_about_is_not_found() -> None:
    assert end_of_subject(Fact("k", "q", "a", subject="  "), "any text") == 0
    assert end_of_subject(Fact("k", "q", "a", subject="Odo"), "Who is it?") == 0
