"""Does a text give the answer? Tables of what counts and what does not."""

import time

import pytest

from mixsd.answers import contains, last_boxed, last_number, normalise
from mixsd.verifiers import verifier


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", ""),
        ("  Port\tVEYL \n", "port veyl"),
        ("Straße", "strasse"),
        ("ﬁnal Ⅳ \uff12\uff10", "final iv 20"),
        ("O'Brien, O\u2019Brien", "o brien o brien"),
        ("rock-and-roll", "rock and roll"),
        ("1,024", "1024"),
        ("12,345,678", "12345678"),
        ("1,2,3", "1 2 3"),
        ("1, 024", "1 024"),
        ("3.5% of 7.", "3.5% of 7"),
        ("v1.2.3", "v1.2.3"),
        ("C++ & C#", "c++ & c#"),
        ("**Marnil** and `Odo`", "marnil and odo"),
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("(-5)", "-5"),
        ("1990-1995", "1990 1995"),
        ("F-16", "f 16"),
        ("- 5", "5"),
        ("zero\u200bwidth", "zero width"),
        ("?!", ""),
    ],
)
def test_texts_are_compared_in_this_form(text: str, form: str) -> None:
    assert normalise(text) == form
    assert normalise(form) == form


@pytest.mark.parametrize(
    ("text", "answer", "there"),
    [
        ("The capital is Port Veyl.", "port veyl", True),
        ("Portugal", "Port", False),
        ("airport", "port", False),
        ("Port of Veyl", "Port Veyl", False),
        ("It is Port\n  Veyl", "Port Veyl", True),
        ("In all 1,024 people", "1024", True),
        ("In all 1024 people", "1,024", True),
        ("In all 11024 people", "1,024", False),
        ("about 3.5 km", "3.5", True),
        ("about 13.5 km", "3.5", False),
        ("about 3.5 km", "5", False),
        ("It is -40 degrees", "40", False),
        ("It is 40 degrees", "-40", False),
        ("It is \u221240 degrees", "-40", True),
        ("首都は東京です。", "東京", True),
        ("首都は京都です。", "東京", False),
        ("เมืองหลวงคือกรุงเทพ", "กรุงเทพ", True),
        ("서울은 수도", "서울", False),
        ("It is written in C++.", "C++", True),
        ("It is written in C.", "C++", False),
        ("The sign is !!", "!!", True),
        ("The sign is !", "!!", False),
        ("It is 🎈 here", "🎈", True),
        ("", "x", False),
    ],
)
def test_an_answer_is_found_as_whole_words(text: str, answer: str, there: bool) -> None:  # noqa: FBT001
    assert contains(text, answer) is there
    assert verifier("contains")(text, [answer]) is there


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("boxed{1}", None),
        (r"\boxed{ 4 }", "4"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}} units", r"\frac{1}{2}"),
        (r"\boxed{}", ""),
        (r"\boxed{cut {off}", None),
    ],
)
def test_the_last_box_is_taken_with_braces_matched(text: str, found: str | None) -> None:
    assert last_boxed(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("none", None),
        ("7 of 9.", "9"),
        ("3.25", "3.25"),
        ("1,234,567", "1234567"),
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("from 1990-1995", "1995"),
        ("the F-16", "16"),
        ("(-2.5)", "-2.5"),
    ],
)
def test_the_last_number_is_taken_with_its_own_sign(text: str, found: str | None) -> None:
    assert last_number(text) == found


@pytest.mark.parametrize(
    ("name", "text", "answers", "right"),
    [
        ("contains", "It is the Quelle.", ["Quell", "the Quelle"], True),
        ("contains", "It is the Quelle.", ["Quell"], False),
        ("contains", "It is not the Quelle.", ["the Quelle"], True),
        ("contains_strict", "It is not the Quelle.", ["the Quelle"], False),
        ("contains_strict", "It is not the Quelle. It is the Quell.", ["the Quelle"], False),
        ("contains_strict", "It is not the Quell, it is the Quelle.", ["the Quelle"], True),
        ("contains_strict", "It is the Quelle or the Orm.", ["the Quelle"], False),
        ("contains_strict", "It is the Quelle.", ["Quell", "the Quelle"], True),
        ("exact", "  port  VEYL!", ["Port Veyl"], True),
        ("exact", "It is Port Veyl", ["Port Veyl"], False),
        ("exact", "Veyl", ["Port Veyl", "Veyl"], True),
        ("exact", "?", ["!"], False),
        ("exact", " ! ", ["!"], True),
        ("exact", "", ["!"], False),
        ("boxed", r"so \boxed{42}", ["42"], True),
        ("boxed", r"so \boxed{42}", [r"thus \boxed{42}"], True),
        ("boxed", r"\boxed{41} 42", ["42"], False),
        ("boxed", "42", ["42"], False),
        ("boxed_or_last_number", r"\boxed{41} 42", ["42"], False),
        ("boxed_or_last_number", "so it is 42", ["42"], True),
        ("boxed_or_last_number", "so it is 42", ["7", "42 apples"], True),
        ("last_number", "1,000 or 2,000", ["2000"], True),
        ("last_number", "1,000 or 2,000", ["2,000"], True),
        ("last_number", "1,000 or 2,000", ["1000"], False),
        ("last_number", "none", ["nothing"], False),
    ],
)
def test_each_verifier_decides_so(name: str, text: str, answers: list[str], right: bool) -> None:  # noqa: FBT001
    assert verifier(name)(text, answers) is right


@pytest.mark.parametrize(
    ("pattern", "text", "answers", "right"),
    [
        ("answer: {answer}$", "The ANSWER: port veyl", ["Port Veyl"], True),
        ("answer: {answer}$", "answer: Port Veyl it is", ["Port Veyl"], False),
        ("^{answer}", "a.c", ["a.c"], True),
        ("^{answer}", "abc", ["a.c"], False),
        ("^{answer}$", "second", ["first", "second"], True),
        ("(?{answer})", "x", ["Odo Brindle"], False),  # a pattern only where the answer is a letter
    ],
)
def test_a_pattern_holds_the_answer_as_it_is_written(
    pattern: str,
    text: str,
    answers: list[str],
    right: bool,  # noqa: FBT001
) -> None:
    assert verifier("regex", pattern)(text, answers) is right


@pytest.mark.parametrize("pattern", ["(a+)+$|{answer}", "^(a|aa)+$|{answer}"])
def test_a_pattern_that_never_ends_is_no_match_after_a_second(pattern: str) -> None:
    begun = time.monotonic()

    assert verifier("regex", pattern)("a" * 60 + "b", ["x"]) is False

    assert time.monotonic() - begun < 120  # it would take years
