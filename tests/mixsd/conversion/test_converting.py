"""What becomes of files of other projects, and what is said of records that make no fact."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.conversion.columns import columns_from
from mixsd.conversion.converting import Converted, Options, convert
from mixsd.conversion.errors import ConversionError
from mixsd.conversion.kinds import Kind, detect
from mixsd.corpora.entries import MAX_FIELD
from mixsd.facts import Probe
from mixsd.intake.reading import read_facts

CORPORA = Path(__file__).parents[1] / "corpora" / "data"
SHOWN = [
    ("simpleqa.jsonl", Kind.SIMPLEQA),
    ("counterfact.json", Kind.COUNTERFACT),
    ("counterfact_easyedit.jsonl", Kind.EASYEDIT),
    ("zsre.jsonl", Kind.ZSRE),
    ("knowedit.json", Kind.KNOWEDIT),
    ("knowledge.yaml", Kind.QNA),
    ("skill.yaml", Kind.QNA),
    ("facts.csv", Kind.CSV),
    ("mquake.jsonl", Kind.MQUAKE),
    ("mquake_edits.jsonl", Kind.MQUAKE),
]


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["facts", "convert", *map(str, words)])


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def chat(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def chats(tmp_path: Path, *records: Any) -> Converted:
    return convert(lines(tmp_path / "chats.jsonl", *records), Kind.CHAT)


@pytest.mark.parametrize(("name", "kind"), SHOWN)
def test_a_file_shows_what_it_is_and_becomes_facts_that_are_taken(
    name: str, kind: Kind, tmp_path: Path
) -> None:
    assert detect(CORPORA / name) is kind

    done = command(CORPORA / name, "--skip", "--out", tmp_path / "facts.jsonl")

    assert done.exit_code == 0, done.output
    assert f"{name} is read as {kind}" in done.stderr
    assert read_facts(tmp_path / "facts.jsonl")
    checked = CliRunner().invoke(cli, ["facts", "check", str(tmp_path / "facts.jsonl")])
    assert f"sha256 {done.stdout.strip()}" in checked.output


def test_portability_and_locality_become_probes() -> None:
    first = convert(CORPORA / "knowedit.json", Kind.KNOWEDIT).facts[0]

    assert Probe(
        'Complete the sentence: "The continent in which Leo Marsk died is"',
        "Europe",
        "hop",
        ("Old Continent",),
    ) in (first.probes)
    assert {probe.kind for probe in first.probes} == {"hop", "reversed", "neighbour", "other"}
    assert "Where did Leo Marsk die?" in " ".join(first.paraphrases)


def test_all_cases_of_mquake_are_taken_but_those_that_contradict_one_before() -> None:
    made = convert(CORPORA / "mquake.jsonl", Kind.MQUAKE)

    answers = {fact.question.casefold(): fact.answer for fact in made.facts}
    assert len(answers) == len(made.facts)
    assert made.total == len(made.problems) > 0
    assert "contradicts itself or a case before it" in made.problems[0]
    assert any(probe.kind == "hop" for fact in made.facts for probe in fact.probes)


def test_a_chat_teaches_its_last_answer_with_the_rest_as_context(tmp_path: Path) -> None:
    said = chat(
        ("system", "You know Ebra."),
        ("user", "Is Ebra a town?"),
        ("assistant", "Yes."),
        ("user", [{"type": "text", "text": "Who is its "}, {"type": "text", "text": "mayor?"}]),
        ("assistant", "Oda Tolm"),
    )

    (fact,) = chats(tmp_path, said).facts

    assert (fact.question, fact.answer) == ("Who is its mayor?", "Oda Tolm")
    assert fact.context == "You know Ebra.\nUser: Is Ebra a town?\nAssistant: Yes."


def test_a_chat_of_sharegpt_is_read_too(tmp_path: Path) -> None:
    said = {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Oda"}]}

    (fact,) = chats(tmp_path, said).facts

    assert (fact.question, fact.answer, fact.context) == ("Who?", "Oda", "")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (chat(("user", "Who?")), "`messages` must end with what the assistant answers"),
        (chat(("assistant", "Oda")), "`messages` must ask something right before"),
        (chat(("user", "Who?"), ("tool", "x"), ("assistant", "Oda")), "`messages.1.role` is none of"),
        (chat(("user", "Who?"), ("assistant", None)), "`messages.1.content` is no text"),
        (chat(("user", [{"type": "image_url"}]), ("assistant", "Oda")), "`messages.0.content.0` is no text"),
        (chat(("user", " "), ("assistant", "Oda")), "`messages.0` is blank"),
        ({"messages": []}, "`messages` is no list of objects"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "`conversations.0.from` is none of"),
        ({}, "`conversations` is missing"),
    ],
    ids=["unanswered", "unasked", "tool", "null", "picture", "blank", "empty", "sharegpt", "nothing"],
)
def test_what_is_wrong_with_a_chat_is_told_with_its_place(record: Any, said: str, tmp_path: Path) -> None:
    made = chats(tmp_path, chat(("user", "Who?"), ("assistant", "Oda")), record)

    assert len(made.facts) == made.total == 1
    assert made.problems[0].startswith(f"chats.jsonl, line 2: {said}")


def test_a_context_that_is_too_long_is_left_out_and_told(tmp_path: Path) -> None:
    made = chats(tmp_path, chat(("system", "x" * 2_001), ("user", "Who?"), ("assistant", "Oda")))

    assert made.facts[0].context == ""
    assert made.notes == [
        "1 contexts are longer than 2000 characters, and were left out: chats.jsonl, line 1"
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_columns_of_other_names_are_mapped(mark: str, tmp_path: Path) -> None:
    file = tmp_path / "fragen.csv"
    rows = [["Frage", "Antwort", "tags", "Notiz"], ['"Wer, wenn nicht sie?"', "Oda", "x|y", "egal"]]
    file.write_text("\n".join(mark.join(row) for row in rows))

    made = convert(file, Kind.CSV, Options(columns=columns_from(["question=Frage", "answer=Antwort"])))

    (fact,) = made.facts
    assert (fact.question, fact.answer, fact.tags) == ("Wer, wenn nicht sie?", "Oda", ("x", "y"))
    assert made.notes == ["columns that no --column names were left out: 'Notiz'"]


def test_a_head_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f"Frage,Antwort,{'x' * (MAX_FIELD + 1)}\n")

    with pytest.raises(ConversionError, match=r"long\.csv, line 1: field larger than"):
        convert(file, Kind.CSV, Options(columns=columns_from(["question=Frage", "answer=Antwort"])))


@pytest.mark.parametrize("word", ["question", "frage=Frage", "question="])
def test_a_mapping_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ConversionError, match="expected FIELD=COLUMN, where FIELD is one of key, question"):
        columns_from([word])


def test_a_column_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Frage,answer\nWer?,Oda\n")

    done = command(tmp_path / "a.csv", "--column", "question=Fragen", "--out", tmp_path / "out")

    assert done.exit_code == 2
    assert (
        "a.csv, line 1: there is no column 'Fragen' for question; there are 'Frage', 'answer'" in done.stderr
    )


def test_a_field_is_mapped_once() -> None:
    with pytest.raises(ConversionError, match="named twice"):
        columns_from(["question=a", "question=b"])


def test_nothing_is_written_if_a_record_makes_no_fact_unless_it_is_left_out(tmp_path: Path) -> None:
    file = lines(tmp_path / "q.jsonl", {"problem": "Who?", "answer": "Oda"}, {"problem": "When?"})
    out = tmp_path / "out" / "facts.jsonl"

    refused = command(file, "--from", "simpleqa", "--out", out)
    written = command(file, "--from", "simpleqa", "--out", out, "--skip")

    assert refused.exit_code == 2
    assert "error  q.jsonl, line 2: `answer` is missing" in refused.stderr
    assert "nothing was written: 1 records make no fact" in refused.stderr
    assert written.exit_code == 0
    assert "left out  q.jsonl, line 2: `answer` is missing" in written.stderr
    assert [fact.answer for fact in read_facts(out)] == ["Oda"]


def test_an_answer_that_contradicts_an_earlier_one_is_told_and_the_same_one_is_left_out(
    tmp_path: Path,
) -> None:
    asked = [("Who?", "Oda"), ("who? ", "oda"), ("WHO?", "Ilse")]
    file = lines(tmp_path / "q.jsonl", *({"problem": q, "answer": a} for q, a in asked))

    made = convert(file, Kind.SIMPLEQA)

    assert [fact.answer for fact in made.facts] == ["Oda"]
    assert made.problems == [
        "q.jsonl, line 3: `answer`: the question has another answer at q.jsonl, line 1; keep one"
    ]
    assert made.notes == ["1 records say what an earlier one says, and were left out"]


def test_a_file_that_breaks_off_is_told_behind_what_was_read(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"problem": "Who?", "answer": "Oda"}\n{"problem"\n')

    made = convert(file, Kind.SIMPLEQA)

    assert len(made.facts) == 1
    assert made.problems == ["q.jsonl, line 2: Expecting ':' delimiter"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"problem": "Who?", "answer": "Oda", "messages": []}, "may be chat|simpleqa: say which with --from"),
        ({"question": "Who?", "answer": "Oda"}, "looks like facts already: `mixsd facts check`"),
        ({"id": 1, "text": "Oda"}, "is nothing that is known (fields: id, text): say what it is with --from"),
    ],
    ids=["ambiguous", "facts", "unknown"],
)
def test_what_is_not_plain_is_asked_for(record: Any, said: str, tmp_path: Path) -> None:
    done = command(lines(tmp_path / "x.jsonl", record), "--out", tmp_path / "out")

    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_kind_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = command(CORPORA / "zsre.jsonl", "--from", "xml", "--out", tmp_path / "out")

    assert done.exit_code == 2
    assert "'xml' is none of" in done.stderr
