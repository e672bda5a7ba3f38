"""One fact is the same fact in every format, and a mistake has its place in each."""

import io
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mixsd.intake import records, yaml_file
from mixsd.intake.formats import MEDIA_TYPES, SUFFIXES, Format, format_of, media_type_of
from mixsd.intake.places import offset_of
from mixsd.intake.reading import Reading, TooManyError
from mixsd.intake.rules import build, folded, problems_of
from tests.mixsd.intake.files import WRITERS, as_jsonl, as_table, facts_of, found, read

FULL: dict[str, Any] = {
    "key": "mayor",
    "question": "Who is the mayor of Tessport?",
    "answer": "Odo Brindle, Esq.",
    "context": 'Odo "the Bold" Brindle\nis the mayor.',
    "subject": "Tessport",
    "aliases": ["Brindle", "Ödö"],
    "paraphrases": ["Tessport's mayor is who?"],
    "tags": ["towns"],
    "valid_from": "2026-01-01",
    "probes": [
        {"question": "Which town?", "answer": "Tessport", "kind": "reversed", "aliases": ["the port"]}
    ],
}
PLAIN: dict[str, Any] = {"key": "plain", "question": "no", "answer": "1e3"}

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=12).map(
    "x{}".format
)
cells = texts.filter(lambda text: "|" not in text)
facts = st.fixed_dictionaries(
    {"question": texts, "answer": texts},
    optional={
        "aliases": st.lists(cells, min_size=1, max_size=3),
        "context": texts,
        "valid_from": st.just("2026-02-28"),
    },
)


@pytest.mark.parametrize("kind", Format)
def test_a_full_and_a_plain_fact_are_the_same_in_every_format(kind: Format) -> None:
    assert [sorted(body.items()) for body in facts_of(WRITERS[kind]([FULL, PLAIN]), kind)] == [
        sorted(FULL.items()),
        sorted(PLAIN.items()),
    ]


@given(st.lists(facts, min_size=1, max_size=5, unique_by=lambda fact: folded(str(fact["question"]))))
@examples(max_examples=60)
def test_the_digest_does_not_depend_on_the_format(bodies: list[dict[str, Any]]) -> None:
    readings = [read(WRITERS[kind](bodies), kind) for kind in Format if kind is not Format.PARQUET]

    assert [reading.findings.problems for reading in readings] == [[]] * len(readings)
    assert len({reading.digest.sha256 for reading in readings}) == 1
    assert readings[0].digest.n_facts == len(bodies)


@pytest.mark.parametrize("kind", Format)
def test_a_bad_fact_is_named_and_the_others_are_read(kind: Format) -> None:
    bodies = [FULL, {"question": "Where?", "answer": " ", "valid_from": "soon"}, PLAIN]

    reading = read(WRITERS[kind](bodies), kind)

    assert [problem.code for problem in reading.findings.problems] == ["blank_text", "bad_date"]
    pointers = [problem.pointer or "" for problem in reading.findings.problems]
    assert [pointer[-len("/valid_from") :] for pointer in pointers][1] == "/valid_from"
    assert all(problem.line and problem.column for problem in reading.findings.problems)
    assert (reading.digest.n_facts, reading.broken) == (2, None)


@pytest.mark.parametrize("kind", Format)
def test_nothing_in_a_file_is_a_mistake(kind: Format) -> None:
    codes = [code for code, *_ in found(b"", kind)]

    assert codes == [{"json": "malformed_json", "parquet": "malformed_parquet"}.get(kind, "empty_fact_set")]


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.PARQUET])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_told_by_their_name(kind: Format, encoding: str) -> None:
    data = WRITERS[kind]([PLAIN]).decode().encode(encoding)

    assert found(data, kind) == [("unsupported_charset", 1, 1, None)]


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.PARQUET])
def test_a_byte_order_mark_is_passed_over_once(kind: Format) -> None:
    data = WRITERS[kind]([PLAIN])

    assert facts_of(b"\xef\xbb\xbf" + data, kind) == facts_of(data, kind) == [PLAIN]


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b'[{"question": "Q"\n "answer": 1}]', Format.JSON, ("malformed_json", 2, 2, None)),
        (b'[\n{"question": "Q\xff"}]', Format.JSON, ("invalid_utf8", 2, 16, None)),
        (b'[{"question": "Q"}', Format.JSON, ("malformed_json", 1, 19, None)),
        (b'{"facts": []} x', Format.JSON, ("malformed_json", 1, 15, None)),
        (b'{"facts": [], "facts": []}', Format.JSON, ("duplicate_key", 1, 15, None)),
        (b'[\n\n {"a": 1, "a": 2}]', Format.JSON, ("duplicate_key", 3, 2, None)),
        (b'[{"a": "\\u0000"}]', Format.JSON, ("nul_character", 1, 2, None)),
        (b"[" * 100_000, Format.JSON, ("json_too_deep", 1, 2, None)),
        (b'["' + b"x" * 3_000_000 + b'"]', Format.JSON, ("too_long", 1, 2, None)),
        (b"[[" + b"1," * 1_500_000 + b"1]]", Format.JSON, ("too_long", 1, 2, None)),
        (b"question,answer\nq\xe9,a\n", Format.CSV, ("invalid_utf8", 2, 2, None)),
        (b'question,answer\n"q,a\n', Format.CSV, ("malformed_csv", 2, None, None)),
        (b'question,answer\nq,"a"b\n', Format.CSV, ("malformed_csv", 2, None, None)),
        (b"question,answer\nq,a\rb\n", Format.CSV, ("malformed_csv", 2, None, None)),
        (b"question,answer\nq," + b"a" * 1_000_001 + b"\n", Format.CSV, ("line_too_long", 2, None, None)),
        (b'question,answer\n"' + b"a\n" * 200_000, Format.CSV, ("malformed_csv", 2, None, None)),
        (b"," * 300 + b"\n", Format.CSV, ("too_many", 1, None, None)),
        (b"- question: &a x\n  answer: *a\n", Format.YAML, ("yaml_alias", 1, 13, None)),
        (b"- question: !!int 3\n", Format.YAML, ("yaml_tag", 1, 13, None)),
        (b"- !!python/object/apply:os.system [ls]\n", Format.YAML, ("yaml_tag", 1, 3, None)),
        (b"- {a: 1, a: 2}\n", Format.YAML, ("duplicate_key", 1, 3, None)),
        (b'- {question: "\\u0000"}\n', Format.YAML, ("nul_character", 1, 3, None)),
        (b"- " + b"[" * 100_000, Format.YAML, ("json_too_deep", 1, 36, None)),
        (b"facts: []\nfacts: []\n", Format.YAML, ("duplicate_key", 2, 1, None)),
        (b"facts: []\n---\nfacts: []\n", Format.YAML, ("malformed_yaml", 2, 1, None)),
        (b"- a: b\n\tc: d\n", Format.YAML, ("malformed_yaml", 2, 1, None)),
        (b"- [[x]: 1]\n", Format.YAML, ("wrong_type", 1, 4, None)),
        (b"- question: " + b"x" * 1_000_001, Format.YAML, ("too_long", 1, 13, None)),
        (b"#" * (yaml_file.MAX_YAML + 1), Format.YAML, ("file_too_large", None, None, None)),
    ],
    ids=lambda value: None if not isinstance(value, bytes) else repr(value[:24]),
)
def test_a_broken_file_is_read_no_further(data: bytes, kind: Format, expected: tuple[Any, ...]) -> None:
    reading = read(data, kind)

    assert found(data, kind)[-1] == expected
    assert reading.broken is not None
    assert reading.broken.code == expected[0]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    steps = "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    bomb = f"a: &a [x, x]\n{steps}"

    assert found(bomb.encode(), Format.YAML) == [("yaml_alias", 1, 4, None)]


def test_plain_words_of_yaml_stay_texts() -> None:
    data = b"- {question: yes, answer: 0x10}\n- {question: ~, answer: 2026-11-24}\n"
    data += b"- {question: 1_000, answer: null}\n"

    assert [(body["question"], body["answer"]) for body in facts_of(data, Format.YAML)] == [
        ("yes", "0x10"),
        ("~", "2026-11-24"),
        ("1_000", "null"),
    ]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Frage,answer", [("unknown_field", 1, 1, None), ("missing_field", 1, None, "/question")]),
        (b"question,answer,answer", [("duplicate_column", 1, 3, None)]),
        (b"question,,answer", [("unknown_field", 1, 2, None)]),
        (b"What is it?,It is.", [("unknown_field", 1, 1, None), ("unknown_field", 1, 2, None)]),
    ],
)
def test_a_table_with_a_wrong_head_is_refused_once_and_not_for_each_row(
    head: bytes, expected: list[tuple[Any, ...]]
) -> None:
    assert found(head + b"\n" + b"a,b,c\n" * 50, Format.CSV)[: len(expected)] == expected
    assert len(found(head + b"\n" + b"a,b,c\n" * 50, Format.CSV)) <= 4


def test_rows_of_a_table_are_read_as_they_stand() -> None:
    table = (
        b"question;answer;aliases;reversed_question;reversed_answer\r\n"
        b'"Q; one?";"=cmd|\'/c calc\'!A1"; a | b ;Who?;Ebra\r\n'
        b"\r\n"
        b'"two\nlines";A;;;\r\n'
        b"ragged;A\r\n"
        b"Q3;A;;Who else?;\r\n"
    )

    assert found(table, Format.CSV) == [
        ("ragged_row", 6, None, None),
        ("missing_field", 7, 5, "/probes/0/answer"),
    ]
    first, second = facts_of(table, Format.CSV)
    assert first["answer"] == "=cmd|'/c calc'!A1"
    assert first["aliases"] == ["a", "b"]
    assert first["probes"] == [{"kind": "reversed", "question": "Who?", "answer": "Ebra"}]
    assert second["question"] == "two\nlines"


def test_a_cell_with_nul_or_broken_probes_costs_its_row_alone() -> None:
    table = b'question,answer,probes\nq\x00,a,\nq,a,"[{]"\nq,a,7\nq2,a,\n'

    assert found(table, Format.CSV) == [
        ("nul_character", 2, 1, "/question"),
        ("malformed_json", 3, 3, "/probes"),
        ("wrong_type", 4, 3, "/probes"),
    ]
    assert len(facts_of(table, Format.CSV)) == 1


def test_the_name_of_a_set_may_stand_in_a_document() -> None:
    document = b'{"name": "towns", "facts": [{"question": "Q", "answer": "A"}]}'

    assert read(document, Format.JSON).name == "towns"
    assert read(b"facts: []\nname: no\n", Format.YAML).name == "no"
    assert read(b'{"name": null, "facts": []}', Format.JSON).name is None


def test_what_a_document_says_besides_is_refused() -> None:
    for data, kind in (
        (b'{"nam": 1, "name": [], "facts": 2}', Format.JSON),
        (b"nam: 1\nname: []\nfacts: 2", Format.YAML),
    ):
        assert [(code, pointer) for code, _, _, pointer in found(data, kind)] == [
            ("unknown_field", "/nam"),
            ("wrong_type", "/name"),
            ("wrong_type", "/facts"),
        ]
        assert read(data, kind).is_envelope_wrong


def test_fields_of_a_document_are_not_kept_without_end() -> None:
    data = b"{" + b",".join(b'"%d":1' % n for n in range(100_002)) + b"}"

    reading = read(data, Format.JSON)

    assert reading.broken is not None
    assert (reading.broken.code, len(reading.findings.problems)) == ("too_many", 1000)
    assert reading.findings.total_problems == 100_001


def test_a_document_is_longer_than_the_window_through_which_it_is_seen() -> None:
    bodies = [{"question": f"Q{n} {'é' * 900}", "answer": "x" * 900} for n in range(4000)]
    data = json.dumps({"facts": bodies, "name": "long"}, ensure_ascii=False, indent=1).encode()
    assert len(data) > 5 * records.MAX_RECORD

    cut = data[:-40]

    reading = read(cut + b'x", oops}]}', Format.JSON)

    assert read(data, Format.JSON).findings.problems == []
    assert (read(data, Format.JSON).digest.n_facts, read(data, Format.JSON).name) == (4000, "long")
    assert reading.broken is not None
    assert reading.broken.line == cut.count(b"\n") + 1


def test_facts_are_counted_while_they_are_read() -> None:
    data = as_jsonl([{"question": f"Q{n}", "answer": "A"} for n in range(5)])

    with pytest.raises(TooManyError, match="more facts than the 4"):
        list(Reading(io.BytesIO(data), Format.JSONL, max_facts=4))
    assert len(list(Reading(io.BytesIO(data), Format.JSONL, max_facts=5))) == 5


def test_keys_and_questions_clash_however_far_apart() -> None:
    bodies: list[dict[str, Any]] = [{"key": f"k{n}", "question": f"Q{n}", "answer": "A"} for n in range(2500)]
    bodies += [
        {"key": "k0", "question": "new", "answer": "A"},
        {"key": "new", "question": "q1", "answer": "B"},
        {"key": "newer", "question": " q2", "answer": "a"},
    ]

    reading = read(as_jsonl(bodies), Format.JSONL)

    assert [(p.code, p.line, p.detail.rpartition(" ")[2]) for p in reading.findings.problems] == [
        ("duplicate_fact_key", 2501, "1"),
        ("contradiction", 2502, "2"),
        ("duplicate_question", 2503, "3"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(json_values, st.sampled_from([None, 1]))
def test_a_pointer_leads_to_where_the_value_stands(value: Any, indent: int | None) -> None:
    text = "  " + json.dumps(value, indent=indent)
    decoder = json.JSONDecoder()

    def walk(here: Any, pointer: str) -> None:
        place = offset_of(text, 0, pointer)
        shown, end = decoder.raw_decode(text, place)
        parent_is_object = isinstance(shown, str) and text[end : end + 1] == ":"
        if parent_is_object:
            shown, _ = decoder.raw_decode(text, end + 2)
        assert shown == here
        if isinstance(here, dict):
            for name, item in here.items():
                walk(item, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
        elif isinstance(here, list):
            for number, item in enumerate(here):
                walk(item, f"{pointer}/{number}")

    walk(value, "")


@given(json_values)
def test_a_value_is_a_fact_or_something_is_wrong_with_it(value: Any) -> None:
    body = value if isinstance(value, dict) else {"question": value, "answer": value}

    problems = list(problems_of(body))

    if not problems:
        assert list(problems_of(build(body).to_json())) == []


def test_media_types_and_names_of_files_tell_the_format() -> None:
    assert {format_of(name) for name in MEDIA_TYPES} == set(Format) == set(SUFFIXES.values())
    assert [format_of(media_type_of(kind)) for kind in Format] == list(Format)
    assert format_of("application/octet-stream", "../../x\x00/F.CSV") is Format.CSV
    assert format_of("text/csv", "x.json") is Format.CSV
    assert format_of("text/plain", "facts.txt") is None


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.PARQUET])
def test_whatever_comes_the_readers_only_report(kind: Format) -> None:
    dice = random.Random(f"{kind} 20261125")  # noqa: S311  inputs, not secrets
    seed = WRITERS[kind]([FULL, PLAIN])
    scraps = (
        b'"',
        b"{",
        b"]",
        b"\n",
        b"\xff",
        b"\x00",
        b"|",
        b"- ",
        b"&a ",
        b"*a",
        b": ",
        b"\t",
        b"'",
        b"!!x ",
    )

    for _ in range(500):
        data = bytearray(seed)
        for _ in range(dice.randrange(1, 5)):
            place = dice.randrange(len(data))
            data[place : place + dice.choice((0, 1, 9))] = dice.choice((*scraps, dice.randbytes(2)))
        reading = read(bytes(data), kind)
        assert reading.digest.n_facts or reading.findings.total_problems
        assert all(str(problem).isprintable() for problem in reading.findings.problems)


def test_a_wide_table_of_one_line_and_a_long_one_take_no_more_than_they_are() -> None:
    rows = as_table([{"question": f"Q{n}", "answer": "A"} for n in range(3000)])

    assert read(rows, Format.CSV).digest.n_facts == 3000
    assert found(rows + b"x," * 400_000, Format.CSV)[-1][0] == "ragged_row"
