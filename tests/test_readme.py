"""What the documents say exists."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from app.settings_table import with_table
from mixsd.cli import cli
from tests.cli.fake_service import FakeService, running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
OPENAPI = ROOT / "openapi.json"


def commands_of(text: str) -> list[list[str]]:
    """Return the `mixsd` commands in the shell blocks of a document, as words."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    found = re.findall(r"(?:^|\$\()mixsd ([^)\n]+)", "\n".join(blocks), re.MULTILINE)
    return [shlex.split(line) for line in found]


def requests_of(text: str) -> list[tuple[str, str]]:
    """Return verb and path of the requests that a document makes with curl."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r'curl [^"\n]*"\$MIXSD(/[^"?]*)[^"]*"([^|>\n]*)', joined)
    return [("post" if "--data" in rest else "get", path) for path, rest in found]


def resolve(words: list[str]) -> tuple[TyperCommand, list[str]]:
    """Follow words to a command as the command line would."""
    command: object = typer.main.get_command(cli)
    while isinstance(command, TyperGroup):
        name = words[0]
        assert name in command.commands, f"there is no command `{name}`: {words}"
        command, words = command.commands[name], words[1:]
    assert isinstance(command, TyperCommand)
    return command, words


def test_the_table_of_settings_is_current() -> None:
    assert with_table(README) == README, "run `python -m app.settings_table`"


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="settings:begin"):
        with_table("# No table")


@pytest.mark.parametrize("words", commands_of(README), ids=" ".join)
def test_a_command_of_the_readme_exists_with_its_options(words: list[str]) -> None:
    command, rest = resolve(words)
    known = {option for parameter in command.params for option in parameter.opts}

    assert {word for word in rest if word.startswith("--")} <= known


def test_the_readme_shows_every_step_of_a_job() -> None:
    assert [verb for verb, _ in requests_of(README)[:2]] == ["post", "post"]
    assert {path for _, path in requests_of(README)} == {
        "/fact-sets",
        "/jobs",
        "/jobs/$JOB",
        "/jobs/$JOB/facts",
        "/jobs/$JOB/report",
        "/adapters/$ADAPTER/download",
    }


@pytest.mark.parametrize("request_", requests_of(README), ids=str)
def test_a_request_of_the_readme_is_in_the_contract(request_: tuple[str, str]) -> None:
    verb, path = request_
    contract = json.loads(OPENAPI.read_text())["paths"]
    pattern = re.sub(r"\$\w+", "[^/]+", path)

    fitting = [template for template in contract if re.fullmatch(pattern, template)]

    assert any(verb in contract[template] for template in fitting), f"no {verb} {path}"


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "tar"))), reason="needs bash, curl and tar")
def test_the_steps_of_a_job_run_as_they_stand(tmp_path: Path) -> None:
    block = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "curl" in block)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "facts.jsonl").write_bytes(b"{}\n")
    fake = FakeService()

    with running(fake) as url:
        script = block.replace("http://127.0.0.1:8000", url).replace("sleep 2", "sleep 0.1")
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, timeout=600)

    assert fake.uploads == [b"{}\n"]
    assert fake.requests[0]["fact_set_id"] == "fset_1"
    assert (tmp_path / "adapter" / "adapter_config.json").exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())

    missing = [target for target in targets if not (document.parent / target).exists()]

    assert not missing


def test_the_decisions_are_numbered_without_gaps_and_all_listed() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("0*.md"))]
    listed = re.findall(r"\]\((\d{4}-[a-z-]+\.md)\)", (ROOT / "docs" / "adr" / "README.md").read_text())

    assert numbers == list(range(1, len(numbers) + 1))
    assert listed == sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
