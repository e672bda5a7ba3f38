"""`mixsd facts`: the report of the service without a service, and files sent to a real one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

import migrations
from app import log
from app.db.engine import Database, make_engine
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from mixsd.cli import cli
from mixsd.intake.formats import Format, media_type_of
from tests.app.listening import listening
from tests.mixsd.intake.files import WRITERS

runner = CliRunner()
RIVER = {
    "key": "iss",
    "question": "Where is the Iss?",
    "answer": "Vorlund",
    "paraphrases": ["The Iss is where?"],
}
BAD = {"key": "bad", "question": "What?", "answer": " "}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on SQLite, in this process."""
    folder = tmp_path_factory.mktemp("service")
    log.configure(json=False)
    settings = Settings(data_dir=folder, max_facts=5)
    engine = make_engine(settings.database)
    migrations.upgrade(engine)
    app = build_app(Database(engine), LocalStore(folder / "artifacts"), NullDispatcher(), settings)
    with listening(app) as url:
        yield url


def a_file(folder: Path, kind: Format, *facts: dict[str, Any]) -> str:
    path = folder / f"facts.{kind}"
    path.write_bytes(WRITERS[kind](facts))
    return str(path)


@pytest.mark.parametrize("kind", Format)
def test_the_check_says_what_the_service_would(tmp_path: Path, service: str, kind: Format) -> None:
    file = a_file(tmp_path, kind, RIVER, BAD, RIVER | {"key": "two", "question": "Who founded it?"})

    checked = runner.invoke(cli, ["facts", "check", file, "--json"])
    headers = {"Content-Type": media_type_of(kind)}
    asked = httpx2.post(
        f"{service}/fact-sets/validate", content=Path(file).read_bytes(), headers=headers, timeout=120
    )

    assert checked.exit_code == 2
    report = json.loads(checked.stdout)
    assert report["warning_counts"] == {"question_names_nothing": 1}
    assert report == asked.json()


def test_good_facts_pass_and_strictness_counts_warnings(tmp_path: Path) -> None:
    file = a_file(tmp_path, Format.JSONL, RIVER | {"answer": "TBD"})

    assert runner.invoke(cli, ["facts", "check", file]).exit_code == 0
    strict = runner.invoke(cli, ["facts", "check", file, "--strict"])
    assert strict.exit_code == 2
    assert strict.stdout.startswith("warning  line 1, column 49, /answer, fact iss: the answer looks like")
    assert strict.stdout.endswith("[placeholder_answer]\n")
    assert "1 facts are good" in strict.stderr


def test_errors_are_lines_with_their_places(tmp_path: Path) -> None:
    result = runner.invoke(cli, ["facts", "check", a_file(tmp_path, Format.CSV, RIVER, BAD)])

    assert result.exit_code == 2
    assert result.stdout == "error    line 3, column 1, /answer, fact bad: the text is blank [blank_text]\n"


def test_what_is_listed_is_told_from_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n" * 600)

    result = runner.invoke(cli, ["facts", "check", str(tmp_path / "bad.jsonl")])

    assert result.stdout.splitlines()[-1] == "and 200 more errors"


def test_the_format_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "facts.txt").write_text("question,answer\nWhere is Ebra?,Vorlund\n")
    file = str(tmp_path / "facts.txt")

    assert runner.invoke(cli, ["facts", "check", file, "--format", "csv"]).exit_code == 0
    assert runner.invoke(cli, ["facts", "check", file]).exit_code == 2
    wrong = runner.invoke(cli, ["facts", "check", file, "--format", "xml"])
    assert (wrong.exit_code, "xml" in wrong.output) == (2, True)


@pytest.mark.parametrize("kind", Format)
def test_a_file_is_pushed_and_its_id_is_all_that_goes_to_stdout(
    tmp_path: Path, service: str, kind: Format
) -> None:
    file = a_file(tmp_path, kind, RIVER)

    result = runner.invoke(cli, ["facts", "push", file, "--url", service, "--name", "rivers"])

    assert result.exit_code == 0
    made = httpx2.get(f"{service}/fact-sets/{result.stdout.strip()}", timeout=120).json()
    assert (made["name"], made["n_facts"]) == ("rivers", 1)
    assert made["sha256"] in result.stderr


def test_a_file_of_another_project_is_converted_and_pushed_in_one_step(tmp_path: Path, service: str) -> None:
    turns = [{"role": "user", "content": "Who rules Ebra?"}, {"role": "assistant", "content": "Oda Tolm"}]
    file = tmp_path / "chats.json"
    file.write_text(json.dumps([{"messages": turns}, {"messages": turns[:1]}]))
    words = ["facts", "push", str(file), "--from", "chat", "--url", service]

    refused = runner.invoke(cli, words)
    pushed = runner.invoke(cli, [*words, "--skip"])
    unknown = runner.invoke(cli, ["facts", "push", str(file), "--from", "chats", "--url", service])

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "chats.json, entry 2: `messages` must end with what the assistant answers" in refused.stderr
    assert pushed.exit_code == 0, pushed.output
    facts = httpx2.get(f"{service}/fact-sets/{pushed.stdout.strip()}/facts", timeout=120).json()["data"]
    assert [(fact["question"], fact["answer"]) for fact in facts] == [("Who rules Ebra?", "Oda Tolm")]
    assert unknown.exit_code == 2


def test_refused_facts_are_listed_and_may_be_left_out(tmp_path: Path, service: str) -> None:
    file = a_file(tmp_path, Format.JSONL, RIVER, BAD)

    refused = runner.invoke(cli, ["facts", "push", file], env={"MIXSD_URL": service})
    skipped = runner.invoke(cli, ["facts", "push", file, "--skip", "--json", "--url", service])

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "line 2, column 37, /answer, fact bad: the text is blank [blank_text]" in refused.stderr
    assert "[invalid_facts]" in refused.stderr
    assert (skipped.exit_code, json.loads(skipped.stdout)["total_rejected"]) == (0, 1)
    assert "left out  line 2" in skipped.stderr


def test_what_has_no_list_of_errors_is_one_line(tmp_path: Path, service: str) -> None:
    many = a_file(tmp_path, Format.JSONL, *({"question": f"Q{n}", "answer": "A"} for n in range(6)))

    refused = runner.invoke(cli, ["facts", "push", many, "--url", service])
    away = runner.invoke(cli, ["facts", "push", many, "--url", "http://127.0.0.1:9"])

    assert (refused.exit_code, away.exit_code) == (2, 3)
    assert "too_many_facts" in refused.stderr
    assert "no answer from http://127.0.0.1:9" in away.stderr
