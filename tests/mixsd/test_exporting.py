"""Supervision for other trainers: their formats, and the very texts and questions of training."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.config import MixConfig, Plan
from mixsd.exporting import ChatFormat, lines_of
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.models.load import Base
from mixsd.progress import silent
from mixsd.supervision import Supervision
from mixsd.training.batches import examples_of
from tests.cli.fake_service import JOB, FakeService, running

FACTS = [
    Fact("river", "Which river is it?", "日本 🎈", train_paraphrases=("Name the river.",)),
    Fact("quote", 'Who said "no\\yes"?', "Odo\nTolm"),
]

READ: Mapping[ChatFormat, tuple[set[str], Callable[[Any], list[tuple[str, str]]]]] = {
    ChatFormat.CHAT: ({"messages"}, lambda row: [(m["role"], m["content"]) for m in row["messages"]]),
    ChatFormat.PROMPT_COMPLETION: (
        {"prompt", "completion"},
        lambda row: [(m["role"], m["content"]) for m in [*row["prompt"], *row["completion"]]],
    ),
    ChatFormat.SHAREGPT: (
        {"conversations"},
        lambda row: [(m["from"], m["value"]) for m in row["conversations"]],
    ),
}
SPEAKERS = {ChatFormat.SHAREGPT: ("human", "gpt")}


@pytest.fixture(scope="module")
def run(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has written its texts. Its questions are put in words of the style."""
    method = MixConfig(
        prompt_style="kgfact", rewordings=0, max_attempts=2, max_new_tokens=8, fallback_to_answer=True
    )
    out = tmp_path_factory.mktemp("run")
    workspace = Workspace(out, base, FACTS, Plan(method=method), lambda _: silent)
    workspace.open()
    workspace.generate()
    return out


def records_of(run: Path) -> list[Supervision]:
    lines = (run / "supervision.jsonl").read_bytes().splitlines()
    return [Supervision.from_json(json.loads(line)) for line in lines]


def export(*words: object) -> Result:
    return CliRunner().invoke(cli, ["supervision", "export", *map(str, words)])


@pytest.mark.parametrize("form", ChatFormat)
def test_each_text_is_that_of_its_tokens_behind_the_question_of_training(
    form: ChatFormat, run: Path, base: Base, tmp_path: Path
) -> None:
    done = export(run, "--format", form, "--out", tmp_path / "chats.jsonl")

    assert done.exit_code == 0, done.output
    columns, read = READ[form]
    rows = datasets.load_dataset(
        "json", data_files=str(tmp_path / "chats.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert set(rows.column_names) == columns
    trained = [record for record in records_of(run) if record.trainable]
    examples = examples_of(base, trained, prompt_style="kgfact")
    assert len(rows) == len(examples) == 3
    for row, record, example in zip(rows, trained, examples, strict=True):
        (asker, question), (speaker, text) = read(row)
        assert (asker, speaker) == SPEAKERS.get(form, ("user", "assistant"))
        assert text == base.chat.decode(record.token_ids)
        assert question != record.question
        assert record.question in question
        assert tuple(base.chat.prompt_ids(question)) == example.prompt


def test_what_training_leaves_out_is_left_out(run: Path) -> None:
    first = records_of(run)[0]
    failed = replace(first, verified=False, method="mixsd", reason="answer_not_stated")
    fallback = replace(first, verified=False, method="fallback", text="The answer is so.")
    bodies = [record.to_json() for record in (failed, fallback)]

    (line,) = lines_of(bodies, ChatFormat.CHAT, prompt_style="natural")

    assert json.loads(line)["messages"] == [
        {"role": "user", "content": first.question},
        {"role": "assistant", "content": "The answer is so."},
    ]


def test_a_chat_that_was_exported_can_be_converted_to_facts(run: Path, tmp_path: Path) -> None:
    for form in (ChatFormat.CHAT, ChatFormat.SHAREGPT):
        export(run, "--format", form, "--out", tmp_path / "chats.jsonl")
        words = ["facts", "convert", str(tmp_path / "chats.jsonl"), "--out", str(tmp_path / "facts.jsonl")]

        done = CliRunner().invoke(cli, words)

        assert done.exit_code == 0, done.output


def test_texts_of_a_job_are_fetched_as_the_service_writes_them(tmp_path: Path) -> None:
    with running(FakeService()) as url:
        words = [JOB, "--format", "sharegpt", "--variant", "2", "--out", tmp_path / "a" / "x.jsonl"]
        done = export(*words, "--url", url)
        refused = export("job_2", "--out", tmp_path / "no.jsonl", "--url", url)

    assert done.exit_code == 0, done.output
    assert (tmp_path / "a" / "x.jsonl").read_text() == '{"format": "sharegpt", "variant": "2"}\n'
    assert "1 chats" in done.stderr
    assert refused.exit_code == 2
    assert [path.name for path in tmp_path.rglob("*.jsonl*")] == ["x.jsonl"]


def test_a_folder_that_holds_no_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"method": {"prompt_style": "natural"}}')

    none = export(tmp_path, "--out", tmp_path / "x.jsonl")
    (tmp_path / "supervision.jsonl").write_text("")
    empty = export(tmp_path, "--out", tmp_path / "x.jsonl")
    (tmp_path / "settings.json").write_text("[]")
    other = export(tmp_path, "--out", tmp_path / "x.jsonl")

    assert [each.exit_code for each in (none, empty, other)] == [2, 2, 2]
    assert "has no supervision.jsonl: it is no folder of a run" in none.stderr
    assert "there is no text that training takes; nothing was written" in empty.stderr
    assert "is no folder of a run" in other.stderr
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/such", "--out", "x"], "there is no such folder"),
        ([".", "--out", "x", "--variant", "1"], "a folder has one variant"),
        (["job_1", "--out", "x", "--format", "alpaca"], "'alpaca' is none of"),
    ],
    ids=["folder", "variant", "format"],
)
def test_what_cannot_be_exported_is_refused(words: list[str], said: str) -> None:
    done = export(*words)

    assert done.exit_code == 2
    assert said in done.stderr
