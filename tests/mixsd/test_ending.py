"""The early end: where a text has said what it should, and where it has not."""

import pytest

from mixsd.answers import contains
from mixsd.decoding.ending import AnswerEnding
from tests.mixsd.test_guard import Pieces

END = 0


def over(answer: str, text: str, more: str) -> bool:
    pieces = Pieces()
    tokens = pieces.ids(text) if text else []
    ending = AnswerEnding(pieces.decode, lambda said: contains(said, answer), [answer], END)
    return ending.over(tokens, pieces.ids(more)[0])


@pytest.mark.parametrize(
    ("answer", "text", "more", "is_over"),
    [
        ("Marnil", "It is Marnil.", " It", True),
        ("Marnil", "It is Marnil.", "\n\n", True),
        ("Marnil", "It is Marnil!", " And", True),
        ("Marnil", 'It says "Marnil."', " It", True),
        ("Marnil", "It is Marnil", "\n", True),  # a line is over as well
        ("Marnil", "It is Marnil", " and", False),
        ("Marnil", "It is Marnil", ".", False),
        ("Marnil", "It is Marnil.", '"', False),  # the sentence goes on
        ("Marnil", "It is Marnil.", "5", False),
        ("Marnil", "It is not Port Veyl.", " It", False),  # not said yet
        ("Marnil", "", "\n", False),
        ("Ilse Corvane", "It was founded by I.", " Corvane", False),
        ("Corvane", "It was founded by Corvane, that is by I.", " Corvane", False),  # an initial
        ("Corvane", "It was founded by Corvane and St.", " Veyl", False),  # an abbreviation
        ("Rio", "It is in Rio.", " It", True),  # as short, but the answer
        ("3.5", "It is 3.", "5", False),
        ("3.5", "It is 3.5.", " So", True),
        ("\u6771\u4eac", "\u90fd\u306f\u6771\u4eac\u3002", "\u307e", True),
        ("\u6771\u4eac", "\u90fd\u306f\u6771\u4eac", "\u3060", False),
        ("\u6771\u4eac", "\u300c\u90fd\u306f\u6771\u4eac\u3002", "\u300d", False),  # its quote is open
        ("\u6771\u4eac", "\u300c\u90fd\u306f\u6771\u4eac\u3002\u300d", "\u307e", True),
    ],
)
def test_a_text_is_over_behind_the_sentence_with_the_answer(
    answer: str, text: str, more: str, *, is_over: bool
) -> None:
    assert over(answer, text, more) is is_over


def test_the_token_that_ends_a_text_says_no_more() -> None:
    pieces = Pieces()
    tokens = pieces.ids("It is Marnil.")
    ending = AnswerEnding(pieces.decode, lambda said: contains(said, "Marnil"), ["Marnil"], END)

    assert not ending.over(tokens, END)


def test_a_long_text_is_read_whole_only_where_it_may_end() -> None:
    pieces = Pieces("Marnil", " and", ".", " It")
    asked: list[int] = []

    def states(said: str) -> bool:
        asked.append(len(said))
        return contains(said, "Marnil")

    ending = AnswerEnding(pieces.decode, states, ["Marnil"], END)
    tokens = [1, *[2] * 40]

    assert not ending.over(tokens, 4)
    assert not asked
    assert ending.over([*tokens, 3], 4)
    assert asked == [len(pieces.decode([*tokens, 3]))]
