import json
from pathlib import Path

from typer.testing import CliRunner

from mixsd.cli import cli
from tests.fixtures.tiny import save_tiny

runner = CliRunner()


def test_a_folder_is_added_and_found_and_stdout_holds_only_its_place(tmp_path: Path) -> None:
    cache = ["--cache", str(tmp_path / "cache")]
    folder = save_tiny(tmp_path / "ours")

    added = runner.invoke(cli, ["models", "add", "ours/tiny", str(folder), *cache])
    found = runner.invoke(cli, ["models", "path", "ours/tiny", *cache])
    pulled = runner.invoke(cli, ["models", "pull", "ours/tiny", *cache])

    assert added.stdout == found.stdout == pulled.stdout
    assert (Path(added.stdout.strip()) / "model.safetensors").is_file()


def test_the_list_holds_what_is_on_disk_and_what_is_built_in(tmp_path: Path, tiny_cache: Path) -> None:
    listed = runner.invoke(cli, ["models", "list", "--cache", str(tiny_cache)])

    rows = {row["id"]: row["on_disk"] for row in map(json.loads, listed.stdout.splitlines())}
    assert rows == {"tiny/random": True, "smollm2-135m-instruct": False}


def test_an_expected_failure_is_one_line_on_stderr(tmp_path: Path) -> None:
    result = runner.invoke(cli, ["models", "path", "../../etc", "--cache", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "model_not_allowed" in result.stderr
