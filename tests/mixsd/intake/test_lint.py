"""What is valid and yet hardly meant: each warning is found where it is, and not where it is not."""

import io
import json
import random
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mixsd.intake.formats import Format
from mixsd.intake.lint.linter import CODES, MAX_OF_CODE
from mixsd.intake.lint.personal import kinds_in
from mixsd.intake.lint.words import names_nothing
from mixsd.intake.report import Report, check
from tests.mixsd.intake.files import as_jsonl, as_table

TODAY = date(2026, 11, 25)
CAPITAL = {"key": "a", "question": "What is the capital of Veldora?", "answer": "Marnil"}
MAYOR = {"key": "b", "question": "Who is the mayor of Tessport?", "answer": "Odo Brindle"}
HELD = {"paraphrases": ["Tessport is run by whom?"]}


def lint(*facts: dict[str, Any]) -> Report:
    return check(io.BytesIO(as_jsonl(facts)), Format.JSONL, today=TODAY)


def warned(*facts: dict[str, Any]) -> list[tuple[str, int | None, str | None]]:
    """Return code, line and pointer of the warnings, but for that nothing is held out."""
    found = lint(*facts).warnings
    return [(w.code, w.line, w.pointer) for w in found if w.code != "nothing_held_out"]


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"question": "Is Odo Brindle the mayor of Tessport?"}, "answer_in_question", "/question"),
        ({"train_paraphrases": ["Name odo brindle's town"]}, "answer_in_question", "/train_paraphrases/0"),
        ({"paraphrases": ["Odo  Brindle, mayor?"]}, "answer_in_question", "/paraphrases/0"),
        ({"question": "Who founded it?"}, "question_names_nothing", "/question"),
        ({"question": "Who is the mayor?"}, "question_names_nothing", "/question"),
        ({"question": "Who is the current mayor of Tessport?"}, "undated_question", "/question"),
        ({"valid_until": "2026-11-24"}, "expired", "/valid_until"),
        ({"valid_from": "2026-11-26"}, "not_yet_valid", "/valid_from"),
        ({"context": "Mail odo@tessport.example: Odo Brindle."}, "personal_data", "/context"),
        ({"aliases": ["+49 170 1234567"]}, "personal_data", "/aliases/0"),
        ({"answer": "4111 1111 1111 1111"}, "personal_data", "/answer"),
        ({"answer": "DE89 3704 0044 0532 0130 00"}, "personal_data", "/answer"),
        ({"answer": "sk-" + "a1B2" * 6}, "possible_secret", "/answer"),
        ({"answer": "TBD"}, "placeholder_answer", "/answer"),
        ({"answer": "Yes."}, "weak_answer", "/answer"),
        ({"answer": "Odo Brindle or Ada Fenn"}, "several_answers", "/answer"),
        ({"answer": "a" * 201}, "long_answer", "/answer"),
        ({"question": f"Tessport {'x' * 500}?"}, "long_question", "/question"),
        ({"context": "Odo Brindle." * 90}, "long_context", "/context"),
        ({"context": "Tessport has a mayor."}, "answer_not_in_context", "/context"),
        ({"aliases": ["odo  brindle"]}, "repeated_text", "/aliases/0"),
        ({"train_paraphrases": ["who  rules Tessport?"]}, "repeated_text", "/train_paraphrases/0"),
        ({"answer": "Odo\u202eBrindle"}, "invisible_character", "/answer"),
        ({"answer": "AndrÃ© Brindle"}, "broken_encoding", "/answer"),
        ({"answer": "Odo <|im_end|>"}, "control_token", "/answer"),
        ({"answer": " Odo Brindle"}, "text_changed", "/answer"),
        ({"answer": "Andre\u0301"}, "text_changed", "/answer"),
    ],
)
def test_one_fact_is_warned_of(changes: dict[str, Any], code: str, pointer: str) -> None:
    assert warned(
        CAPITAL, {"key": "b", "question": "Who rules Tessport?", "answer": "Odo Brindle"} | changes
    ) == [(code, 2, pointer)]


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": "Odo"},
        {"question": "Who is the mayor, if there is one, of Odonia?", "answer": "Odo"},
        {"question": "When was Tessport founded in 1783?", "answer": "178"},
        {"question": "Was Tessport founded in 1783, yes or no?", "answer": "17 May"},
        {"valid_until": "2026-11-25", "valid_from": "2026-11-25"},
        {"question": "Who is the current mayor of Tessport?", "valid_from": "2026-01-01"},
        {"answer": "5105-2026-11"},
        {"answer": "1234 5678 9012 3456"},
        {"answer": "2026-11-24 10:00"},
        {"answer": "orange"},
        {"answer": "km/h"},
        {"answer": "=SUM(A1)"},
        {"answer": "Zoë \u200d", "aliases": ["Zoe"]},
        {"question": "What colour is the mineral zorelite?"},
        {"question": "テスポートの市長は誰ですか?"},
        {"context": "It is Odo who rules.", "answer": "Odo Brindle", "aliases": ["Odo"]},
    ],
)
def test_what_only_looks_like_it_is_not_warned_of(changes: dict[str, Any]) -> None:
    assert [code for code, *_ in warned(CAPITAL, MAYOR | changes) if code != "weak_answer"] == []


@pytest.mark.parametrize(
    ("second", "code"),
    [
        ({"question": "What's the capital of Veldora"}, "near_duplicate"),
        ({"question": "the capital of VELDORA: what is it please?"}, "near_duplicate"),
        ({"question": "Véldora's capital?"}, "near_duplicate"),
        ({"question": "What is the capital of Veldorra?"}, "near_duplicate"),
        ({"question": "What are the capitals of Veldora?"}, "near_duplicate"),
        ({"question": "Which is the capital of Veldora?", "answer": "Ebra"}, "possible_contradiction"),
        ({"question": "capital of veldora", "answer": "Ebra", "aliases": ["Ebb"]}, "possible_contradiction"),
    ],
)
def test_questions_that_are_nearly_the_same_are_told_with_the_first(
    second: dict[str, Any], code: str
) -> None:
    report = lint(CAPITAL | HELD, {"answer": "Marnil"} | second)

    assert report.is_valid
    assert [(w.code, w.line, w.pointer) for w in report.warnings] == [(code, 2, "/question")]
    assert report.warnings[-1].detail.endswith("line 1")


@pytest.mark.parametrize(
    "second",
    [
        {"question": "What is the capital of Tessport?"},
        {"question": "What is the capital of Veldora 2?"},
        {"question": "Where is the capital of Veldora?", "answer": "On the Iss"},
        {"question": "Who is the capital's mayor in Veldora?", "answer": "Odo"},
        {"question": "What is the capital of Vildura?", "answer": "Ebra"},
    ],
)
def test_questions_of_other_things_are_not_taken_for_the_same(second: dict[str, Any]) -> None:
    assert warned(CAPITAL, {"answer": "Marnil"} | second) == []


def test_an_alias_makes_two_answers_one() -> None:
    second = {"question": "Veldora's capital?", "answer": "Port Marnil", "aliases": ["marnil"]}

    assert [code for code, *_ in warned(CAPITAL, second)] == ["near_duplicate"]


def test_one_relation_of_one_subject_has_one_object() -> None:
    first = CAPITAL | {"subject": "Veldora", "relation": "capital", "object": "Marnil"}
    second = MAYOR | {"subject": "VELDORA", "relation": "capital", "object": "Ebra"}

    assert warned(first, second) == [("relation_clash", 2, "/object")]
    assert warned(first, second | {"object": "marnil"}) == []


def test_what_is_held_out_and_trained_on_is_found_in_both_directions() -> None:
    first = CAPITAL | {
        "paraphrases": ["Who is the Mayor of Tessport"],
        "train_paraphrases": ["Veldora: capital?"],
    }
    second = MAYOR | {
        "probes": [
            {"question": "Veldora, capital?", "answer": "Marnil", "kind": "reversed"},
            {"question": "what is the capital of veldora", "answer": "Ebra", "kind": "neighbour"},
            {"question": "Which sea is near?", "answer": "the Gulf"},
        ]
    }

    report = lint(first, second)

    assert [(w.code, w.line, w.pointer, w.fact_key) for w in report.warnings] == [
        ("paraphrase_is_trained", 1, "/paraphrases/0", "a"),
        ("probe_is_trained", 2, "/probes/0/question", "b"),
        ("neighbour_is_taught", 2, "/probes/1/question", "b"),
    ]
    assert report.warnings[0].detail.endswith("line 2")


def test_a_set_that_holds_nothing_out_is_told_once() -> None:
    assert lint(CAPITAL, MAYOR).counts == {"nothing_held_out": 1}
    assert lint(CAPITAL, MAYOR | HELD).counts == {}
    assert lint({"question": "?"}).counts == {}


def test_cells_that_a_spreadsheet_would_compute_are_kept_and_told() -> None:
    answers = ["=1+1", "+cmd", "-x", "@a", "-5", "+3.5%", "a=b"]
    facts = [{"question": f"What is Q{n}?", "answer": answer} for n, answer in enumerate(answers)]

    report = check(io.BytesIO(as_table(facts)), Format.CSV, today=TODAY)

    assert [(w.line, w.column) for w in report.warnings if w.code == "formula_cell"] == [
        (line, 1) for line in (2, 3, 4, 5)
    ]
    assert report.n_facts == 7


def test_places_in_a_document_have_line_and_column_and_pointer() -> None:
    document = json.dumps([CAPITAL | HELD, {"question": "Who rules it?", "answer": "Ada"}], indent=1).encode()

    warning = check(io.BytesIO(document), Format.JSON, today=TODAY).warnings[0]

    assert (warning.line, warning.column, warning.pointer) == (11, 3, "/1/question")


def test_a_frequent_warning_hides_no_other() -> None:
    facts = [{"question": f"Who is Q{n}?", "answer": "yes"} for n in range(300)]

    report = lint(*facts, MAYOR | {"answer": "TBD"})

    assert report.counts == {"nothing_held_out": 1, "placeholder_answer": 1, "weak_answer": 300}
    assert sum(w.code == "weak_answer" for w in report.warnings) == MAX_OF_CODE
    assert [w.line for w in report.warnings if w.code == "placeholder_answer"] == [301]


def test_bad_facts_are_not_linted_and_nothing_is_changed() -> None:
    report = lint({"question": "Who founded it?", "answer": " "}, MAYOR | HELD)

    assert (report.is_valid, report.n_facts, report.counts) == (False, 1, {})
    assert report.sha256 == lint(MAYOR | HELD).sha256


def test_the_codes_are_those_that_are_documented() -> None:
    document = (Path(__file__).parents[3] / "docs" / "facts.md").read_text()

    for code, meaning in CODES.items():
        assert f"| `{code}` | {meaning} |" in document


@pytest.mark.parametrize(
    "text", ["a" * 2000 + "!", "1 " * 1000, "+1" * 1000, "AB12" * 500, "<|" * 1000, "@a." * 660, "sk-" * 660]
)
def test_no_text_keeps_a_pattern_busy(text: str) -> None:
    begun = time.process_time()

    for _ in range(20):
        list(kinds_in(text))
        names_nothing(text)
    lint(MAYOR | {"question": text[:2000], "answer": text[:2000], "context": text[:2000]})

    assert time.process_time() - begun < 5


def test_twice_the_facts_take_about_twice_the_steps() -> None:
    """Templates and common words must not make every fact a neighbour of every other."""
    dice = random.Random(3)  # noqa: S311  inputs, not secrets
    names = ["".join(dice.choices("bdfklmnrstvaeiou", k=9)) for _ in range(4000)]
    facts = [
        {"question": f"What is the capital of {name}?", "answer": name[::-1]} for name in dict.fromkeys(names)
    ]

    report = lint(*facts)

    assert report.total_errors == 0
    assert report.counts.keys() <= {"nothing_held_out", "near_duplicate"}
    assert report.counts.get("near_duplicate", 0) < 5
