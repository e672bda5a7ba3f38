"""Facts: every mistake is named with its place, and one text has one form."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mixsd.facts import (
    MAX_LINE,
    MAX_LIST,
    MAX_PROBLEMS,
    MAX_TEXT,
    Fact,
    FactsError,
    Parsed,
    Probe,
    Problem,
    sha256_of,
)
from mixsd.intake.reading import parse_json, parse_jsonl, parse_objects, read_facts

QUESTION = "Who is the mayor of Tessport?"
ANSWER = "Odo Brindle"
FULL = Fact(
    key="mayor",
    question=QUESTION,
    answer=ANSWER,
    aliases=("Brindle",),
    paraphrases=("Tessport's mayor is who?",),
    train_paraphrases=("Name the mayor of Tessport.",),
    context="Odo Brindle is the mayor of Tessport.",
    subject="Tessport",
    relation="mayor",
    object=ANSWER,
    tags=("towns",),
    source="gazette",
    valid_from="2026-01-01",
    valid_until="2026-12-31",
    probes=(Probe("Which town has Odo Brindle for mayor?", "Tessport", "reversed", ("the port",)),),
)


def a_fact(**changes: Any) -> dict[str, Any]:
    return {"question": QUESTION, "answer": ANSWER} | changes


def a_probe(**changes: Any) -> dict[str, Any]:
    return {"question": "Which town?", "answer": "Tessport"} | changes


def jsonl(*facts: dict[str, Any]) -> bytes:
    return "".join(json.dumps(fact, ensure_ascii=False) + "\n" for fact in facts).encode()


def places(parsed: Parsed) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.pointer) for problem in parsed.problems]


@pytest.mark.parametrize(
    ("fact", "code", "pointer"),
    [
        ({"answer": ANSWER}, "missing_field", "/question"),
        ({"question": QUESTION}, "missing_field", "/answer"),
        (a_fact(answer=""), "blank_text", "/answer"),
        (a_fact(answer=" \t\u00a0\u2028\u200b"), "blank_text", "/answer"),
        (a_fact(answer="\u0301"), "blank_text", "/answer"),
        (a_fact(question=None), "wrong_type", "/question"),
        (a_fact(answer=17), "wrong_type", "/answer"),
        (a_fact(answer=[ANSWER]), "wrong_type", "/answer"),
        (a_fact(answer="a" * (MAX_TEXT + 1)), "too_long", "/answer"),
        (a_fact(context="a" * (MAX_TEXT + 1)), "too_long", "/context"),
        (a_fact(context=1), "wrong_type", "/context"),
        (a_fact(anwser=ANSWER), "unknown_field", "/anwser"),
        ({"a/b~c": 1, "question": QUESTION, "answer": ANSWER}, "unknown_field", "/a~1b~0c"),
        (a_fact(key="two words"), "bad_key", "/key"),
        (a_fact(key="k\n"), "bad_key", "/key"),
        (a_fact(key="k" * 65), "bad_key", "/key"),
        (a_fact(key=None), "bad_key", "/key"),
        (a_fact(aliases="Brindle"), "wrong_type", "/aliases"),
        (a_fact(aliases=["Brindle", 3]), "wrong_type", "/aliases/1"),
        (a_fact(aliases=["Brindle", " "]), "blank_text", "/aliases/1"),
        (a_fact(tags=["t"] * (MAX_LIST + 1)), "too_many", "/tags"),
        (a_fact(valid_from="24.11.2026"), "bad_date", "/valid_from"),
        (a_fact(valid_from="20261124"), "bad_date", "/valid_from"),
        (a_fact(valid_from="2026-W48-2"), "bad_date", "/valid_from"),
        (a_fact(valid_until=20261124), "bad_date", "/valid_until"),
        (a_fact(valid_from="2026-11-24", valid_until="2026-11-23"), "bad_date", "/valid_until"),
        (a_fact(probes={}), "wrong_type", "/probes"),
        (a_fact(probes=None), "wrong_type", "/probes"),
        (a_fact(probes=[a_probe()] * (MAX_LIST + 1)), "too_many", "/probes"),
        (a_fact(probes=[a_probe(), "x"]), "wrong_type", "/probes/1"),
        (a_fact(probes=[a_probe(kind="backwards")]), "bad_kind", "/probes/0/kind"),
        (a_fact(probes=[a_probe(kind=["hop"])]), "bad_kind", "/probes/0/kind"),
        (a_fact(probes=[a_probe(), {"question": "Which?"}]), "missing_field", "/probes/1/answer"),
        (a_fact(probes=[a_probe(answer=" ")]), "blank_text", "/probes/0/answer"),
        (a_fact(probes=[a_probe(aliases=[""])]), "blank_text", "/probes/0/aliases/0"),
        (a_fact(probes=[a_probe(**{"a/b": 1})]), "unknown_field", "/probes/0/a~1b"),
    ],
)
def test_a_mistake_in_a_fact_is_named_by_code_and_pointer(
    fact: dict[str, Any], code: str, pointer: str
) -> None:
    parsed = parse_jsonl(jsonl(fact))
    within = parse_json(json.dumps({"facts": [a_fact(question="Which?"), fact]}).encode())

    assert places(parsed) == [(code, pointer)]
    assert parsed.problems[0].line == 1
    assert places(within) == [(code, f"/facts/1{pointer}")]
    assert within.problems[0].line == 1


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        (b'{"question": "Q"', "malformed_json", 17),
        (b'{"question" "Q"}', "malformed_json", 13),
        (b"[1,]", "malformed_json", 4),
        (b'{"question": "\xff"}', "invalid_utf8", 15),
        (b'{"a": 1, "a": 2}', "duplicate_key", None),
        (b'{"a": NaN}', "non_finite_number", None),
        (b'{"a": -Infinity}', "non_finite_number", None),
        (b'{"a": 1e999}', "non_finite_number", None),
        (b'{"a": ' + b"9" * 5000 + b"}", "number_too_long", None),
        (b'{"a": "\\u0000"}', "nul_character", None),
        (b'{"\\u0000": 1}', "nul_character", None),
        (b'{"a": "\\ud83c"}', "invalid_unicode", None),
        (b"[" * 40 + b"]" * 40, "json_too_deep", None),
        (b"[" * 30_000 + b"]" * 30_000, "json_too_deep", None),
        (b'{"a": "' + b"a" * MAX_LINE + b'"}', "line_too_long", None),
        (b"[]", "wrong_type", None),
        (b"null", "wrong_type", None),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(line: bytes, code: str, column: int | None) -> None:
    parsed = parse_jsonl(jsonl(a_fact()) + b"\n" + line + b"\n" + jsonl(a_fact(question="Which?")))

    assert [(p.code, p.line, p.column) for p in parsed.problems] == [(code, 3, column)]
    assert [fact.question for fact in parsed.facts] == [QUESTION, "Which?"]


def test_a_place_within_a_document_is_line_and_column() -> None:
    malformed, not_utf8 = parse_json(b'[\n {"a" 1}]').problems[0], parse_json(b'[\n "abc\xff"]').problems[0]

    assert (malformed.code, malformed.line, malformed.column) == ("malformed_json", 2, 7)
    assert (not_utf8.code, not_utf8.line, not_utf8.column) == ("invalid_utf8", 2, 6)


def test_all_mistakes_are_told_at_once_with_the_key_of_their_fact() -> None:
    bad = {"key": "mayor", "question": " ", "aliases": ["", 1], "who": 1, "valid_from": "soon"}

    parsed = parse_objects([bad, a_fact(), "no fact"], prefix="/facts")

    assert places(parsed) == [
        ("unknown_field", "/facts/0/who"),
        ("blank_text", "/facts/0/question"),
        ("missing_field", "/facts/0/answer"),
        ("blank_text", "/facts/0/aliases/0"),
        ("wrong_type", "/facts/0/aliases/1"),
        ("bad_date", "/facts/0/valid_from"),
        ("wrong_type", "/facts/2"),
    ]
    assert {problem.fact_key for problem in parsed.problems[:-1]} == {"mayor"}
    assert [fact.answer for fact in parsed.facts] == [ANSWER]


def test_problems_are_counted_beyond_those_that_are_kept() -> None:
    parsed = parse_jsonl(b"{}\n" * MAX_PROBLEMS)

    assert (len(parsed.problems), parsed.total_problems) == (MAX_PROBLEMS, 2 * MAX_PROBLEMS)
    with pytest.raises(FactsError, match=f"and {MAX_PROBLEMS} more"):
        parsed.or_raise()


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (a_fact(key="b"), "duplicate_question"),
        (
            a_fact(key="b", question=" WHO is\tthe  mayor of Tessport? ", answer="odo BRINDLE"),
            "duplicate_question",
        ),
        (a_fact(key="b", answer="Ada Fenn"), "contradiction"),
        (a_fact(key="a", answer="Ada Fenn"), "contradiction"),
        (a_fact(key="a", question="Which?"), "duplicate_fact_key"),
        (a_fact(key="a"), "duplicate_fact_key"),
    ],
)
def test_a_fact_that_clashes_names_the_one_before_it(second: dict[str, Any], code: str) -> None:
    lines = parse_jsonl(b"\n" + jsonl(a_fact(key="a"), second))
    objects = parse_objects([a_fact(key="a"), second], prefix="/facts")

    assert [(p.code, p.line, p.fact_key) for p in lines.problems] == [(code, 3, second["key"])]
    assert lines.problems[0].detail.endswith("at line 2")
    assert objects.problems[0].pointer == "/facts/1"
    assert objects.problems[0].detail.endswith("at /facts/0")
    assert [fact.key for fact in lines.facts] == ["a"]


def test_a_bad_fact_clashes_with_nothing() -> None:
    parsed = parse_objects([a_fact(key="a", who=1), a_fact(key="a")])

    assert [problem.code for problem in parsed.problems] == ["unknown_field"]
    assert [fact.key for fact in parsed.facts] == ["a"]


def test_no_fact_is_a_mistake_as_well() -> None:
    for data in (b"", b"\n \r\n\t\n", b"\xef\xbb\xbf"):
        with pytest.raises(FactsError, match="empty_fact_set"):
            parse_jsonl(data).or_raise()
    with pytest.raises(FactsError, match="empty_fact_set"):
        parse_json(b'{"facts": []}').or_raise()


@pytest.mark.parametrize(
    ("document", "codes"),
    [
        (b"1", ["wrong_type"]),
        (b'"x"', ["wrong_type"]),
        (b"{}", ["missing_field"]),
        (b'{"facts": 1}', ["wrong_type"]),
        (b'{"fact": []}', ["unknown_field", "missing_field"]),
    ],
)
def test_a_document_that_is_no_list_of_facts_is_refused(document: bytes, codes: list[str]) -> None:
    assert [problem.code for problem in parse_json(document).problems] == codes


def test_line_ends_byte_order_mark_and_blank_lines_change_nothing() -> None:
    lines = jsonl(a_fact(), a_fact(question="Which?"))

    for data in (
        lines.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + lines,
        b"\n\n  \n" + lines.replace(b"\n", b"\n\n"),
        lines.rstrip(b"\n"),
    ):
        assert parse_jsonl(data) == parse_jsonl(lines)
    assert len(parse_jsonl(lines).facts) == 2


def test_only_newlines_part_lines() -> None:
    answer = "one\u2028two\u2029three\x85four"

    parsed = parse_jsonl(jsonl(a_fact(answer=answer)) + b'{"question": "Which?",\r"answer": "x"}')

    assert [fact.answer for fact in parsed.or_raise()] == [answer, "x"]


def test_the_limits_themselves_are_allowed() -> None:
    fact = a_fact(answer="a" * MAX_TEXT, tags=["t"] * MAX_LIST, key="k" * 64, probes=[a_probe()] * MAX_LIST)
    line = jsonl(a_fact(question="Which?")).strip()

    assert len(parse_objects([fact]).or_raise()) == 1
    assert len(parse_jsonl(line + b" " * (MAX_LINE - len(line))).or_raise()) == 1


def test_the_length_that_counts_is_that_of_the_text_that_is_kept() -> None:
    padded = parse_objects([a_fact(answer=" " * MAX_TEXT + "a")]).or_raise()
    growing = parse_objects([a_fact(answer="\u0958" * MAX_TEXT)])  # becomes two characters in NFC

    assert padded[0].answer == "a"
    assert [problem.code for problem in growing.problems] == ["too_long"]


def test_keys_are_made_from_question_and_answer() -> None:
    first, second, third = (
        parse_objects([fact]).or_raise()[0].key
        for fact in (a_fact(), a_fact(question=f" {QUESTION}\n", source="x"), a_fact(answer="Ada Fenn"))
    )

    assert first == second != third
    assert first == "f-c9a8cfbee1c6a231"
    assert parse_objects([a_fact(key=first)]).or_raise()[0].key == first


def test_the_digest_knows_neither_empty_fields_nor_spelling_in_unicode() -> None:
    composed = a_fact(answer="Caf\u00e9 Andr\u00e9", aliases=["\u00e9"])
    decomposed = a_fact(
        answer=" Cafe\u0301 Andre\u0301 ", aliases=["e\u0301"], context="", tags=[], probes=[], source=" "
    )

    digests = {sha256_of(parse_objects([fact]).or_raise()) for fact in (composed, decomposed)}

    assert len(digests) == 1


def test_the_digest_depends_on_every_field_and_on_order() -> None:
    two = parse_objects([a_fact(), a_fact(question="Which?")]).or_raise()
    body = FULL.to_json()

    digests = {sha256_of([Fact.from_json({**body, name: value[:-1]})]) for name, value in body.items()}

    assert len(digests) == len(body) == 15
    assert sha256_of([FULL]) not in digests
    assert sha256_of(two) != sha256_of(two[::-1])
    assert sha256_of([FULL]) == "0e8f922714840581ce69614bbc71031dd53e6eda32a6ffec2dd657b76852c170"


def test_facts_survive_json_and_are_valid_again() -> None:
    read = parse_json(json.dumps([FULL.to_json()]).encode()).or_raise()

    assert read == [FULL] == [Fact.from_json(FULL.to_json())]
    assert Fact("k", "Q", "A").to_json() == {"key": "k", "question": "Q", "answer": "A"}


def test_a_file_is_read_by_its_suffix_and_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps({"facts": [a_fact()]}, indent=1))
    (tmp_path / "facts.jsonl").write_bytes(jsonl(a_fact()))
    (tmp_path / "bad.jsonl").write_bytes(jsonl(a_fact(), {"question": QUESTION}))

    assert read_facts(tmp_path / "facts.json") == read_facts(tmp_path / "facts.jsonl")
    with pytest.raises(FactsError, match="line 2"):
        read_facts(tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("c", "wrong", line=3, column=7), "line 3, column 7: wrong [c]"),
        (Problem("c", "wrong", pointer="/0/key", fact_key="k"), "/0/key, fact k: wrong [c]"),
        (Problem("c", "wrong"), "facts: wrong [c]"),
        (Problem("c", "wrong", pointer="/a\nb", fact_key="\x1b[2J"), "/a\\nb, fact \\x1b[2J: wrong [c]"),
    ],
)
def test_a_problem_is_one_printable_line(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_whatever_comes_in_the_readers_only_report() -> None:
    dice = random.Random(20261124)  # noqa: S311  inputs, not secrets
    seeds = [jsonl(FULL.to_json(), a_fact()), json.dumps({"facts": [FULL.to_json()]}).encode()]
    scraps = [
        b'"',
        b"{",
        b"]",
        b"\\u0000",
        b"\\ud800",
        b"null",
        b"1e999",
        b"NaN",
        b"\n",
        b"\xff",
        b"0" * 5000,
    ]
    seen: set[str] = set()

    for _ in range(3000):
        data = bytearray(dice.choice(seeds) if dice.random() < 0.9 else dice.randbytes(80))
        for _ in range(dice.randrange(1, 5)):
            place = dice.randrange(len(data))
            data[place : place + dice.choice((0, 1, 9))] = dice.choice((*scraps, dice.randbytes(2)))
        for parsed in (parse_jsonl(bytes(data)), parse_json(bytes(data))):
            assert parsed.total_problems >= len(parsed.problems)
            assert all(str(problem).isprintable() for problem in parsed.problems)
            sha256_of(parsed.facts)
            seen |= {problem.code for problem in parsed.problems}

    assert len(seen) >= 10


def test_values_of_any_type_anywhere_are_only_reported() -> None:
    dice = random.Random(7)  # noqa: S311  inputs, not secrets
    values: tuple[Any, ...] = (
        None,
        True,
        0,
        -1.5,
        "",
        "x",
        [],
        {},
        [[]],
        [{}],
        {"a": 1},
        ["x", None],
        "\u0301",
        "2026-02-30",
    )

    for _ in range(3000):
        probe: dict[str, Any] = FULL.to_json()["probes"][0]
        body = FULL.to_json() | {"probes": [probe]}
        for _ in range(dice.randrange(1, 4)):
            target = dice.choice((body, probe))
            target[dice.choice((*FULL.to_json(), "kind", "who"))] = dice.choice(values)
        parsed = parse_objects([body])
        assert bool(parsed.facts) != bool(parsed.problems)
        sha256_of(parsed.facts)


def test_what_is_empty_is_as_good_as_left_out() -> None:
    plain, empty = a_fact(), a_fact(key="", valid_from="", valid_until="", context="", aliases=[])

    parsed = parse_objects([plain, empty | {"question": "Who governs Tessport?"}])

    assert places(parsed) == []
    assert parse_objects([plain]).facts == parse_objects([empty]).facts
