"""`mixsd corpus`: digest on stdout, mistakes on one line of stderr with exit status 2."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.corpora.public import NAMES
from mixsd.intake.reading import read_facts

DATA = Path(__file__).parent / "data"
# They change only when the corpus changes, which must be on purpose and in the change log.
SMALL = "4f46aa5fda172808ceb957306540817d4b3349d058b9ad0fb9ccecc6e8f67b6a"
LARGE = "5f4c8aecc72326decc04dc0944bafcff468cf0efa95776b16b51b34032b08934"
KGFUNC = "dbfbca7a88696042428fa8d349d95ba91f58e81e0715343d4f717058aae1d07c"


def corpus(*words: str) -> Result:
    return CliRunner().invoke(cli, ["corpus", *words])


@pytest.mark.parametrize(
    ("words", "digest", "n"),
    [
        (["kgfact"], SMALL, 100),
        (["kgfact", "--size", "5x10"], SMALL, 100),
        (["kgfact", "--size", "large"], LARGE, 525),
        (["kgfunc"], KGFUNC, 1600),
    ],
)
def test_the_made_corpora_have_known_digests(words: list[str], digest: str, n: int, tmp_path: Path) -> None:
    done = corpus(*words, "--out", str(tmp_path / "out"))

    assert done.exit_code == 0, done.output
    assert done.stdout == f"{digest}\n"
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["sha256"] == digest
    assert len(read_facts(tmp_path / "out" / "facts.jsonl")) == n


def test_every_public_set_has_a_command(tmp_path: Path) -> None:
    for name in NAMES:
        assert corpus(name, "--help").exit_code == 0


def test_a_limit_and_a_note_are_told(tmp_path: Path) -> None:
    words = ["--from", str(DATA / "simpleqa.jsonl"), "--limit", "2", "--out", str(tmp_path / "out")]

    done = corpus("simpleqa", *words)

    assert done.exit_code == 0, done.output
    assert "facts.jsonl: 2" in done.stderr
    assert "mixsd: 1 entries ask what an earlier one asks" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kgfact", "--size", "15x10"], "15x10 is no part of the world"),
        (["kgfact", "--size", "huge"], "a size is small, large or DOMAINSxNAMES"),
        (["kgfunc", "--train", "0"], "0 facts cannot be made"),
        (["kgfunc", "--functions", "Z"], "there is no function 'Z'"),
        (["simpleqa", "--from", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["simpleqa", "--from", str(DATA / "zsre.jsonl")], "zsre.jsonl, line 1: `problem` is missing"),
        (["zsre", "--from", str(DATA / "zsre.jsonl"), "--limit", "0"], "a limit is 1 or more"),
        (["zsre", "--from", "hub"], "give hub:OWNER/NAME or a local file"),
    ],
)
def test_bad_input_is_explained_on_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    done = corpus(*words, "--out", str(tmp_path / "out"))

    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")

    done = corpus("kgfact", "--out", str(tmp_path))

    assert done.exit_code == 2
    assert done.stderr.endswith("name another folder or empty this one [corpus_exists]\n")
