"""A corpus on disk: its list is true, nothing is overwritten, the same input gives the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixsd.corpora.errors import CorpusError, CorpusExistsError
from mixsd.corpora.writing import Corpus, write
from mixsd.facts import Fact, FactsError

FACTS = [Fact(key="a", question="Who rules Ebra?", answer="Oda Tolm")]
ROWS = [{"key": "a", "question": "Who is the ruler of Ebra?", "answer": "Oda Tolm"}]


def sample(answer: str = "Oda Tolm") -> Corpus:
    fact = Fact(key="a", question="Who rules Ebra?", answer=answer)
    return Corpus("sample", [fact], {"paraphrase": ROWS, "reversed": []}, {"seed": 1}, ["a note"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_list_tells_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    returned = write(sample(), out)

    document = json.loads((out / "corpus.json").read_text())
    sums = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in ("facts.jsonl", "paraphrase.jsonl")
    }
    assert document == returned
    assert document["files"] == sums
    assert document["counts"] == {"facts.jsonl": 1, "paraphrase.jsonl": 1}
    total = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    assert document["sha256"] == hashlib.sha256(total.encode()).hexdigest()
    assert (document["name"], document["settings"], document["notes"]) == ("sample", {"seed": 1}, ["a note"])
    assert set(contents(out)) == {"facts.jsonl", "paraphrase.jsonl", "corpus.json"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_the_same_corpus_may_be_written_again(tmp_path: Path) -> None:
    write(sample(), tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}

    write(sample(), tmp_path / "out")

    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write(sample(), tmp_path)

    assert "facts.jsonl" in contents(tmp_path)


def test_another_corpus_is_not_overwritten(tmp_path: Path) -> None:
    write(sample(), tmp_path / "out")
    before = contents(tmp_path / "out")

    with pytest.raises(CorpusExistsError, match="holds another corpus"):
        write(sample("Jan Bree"), tmp_path / "out")

    assert contents(tmp_path / "out") == before


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(CorpusExistsError, match="holds other files"):
        write(sample(), tmp_path)

    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")

    with pytest.raises(CorpusExistsError, match="is no folder"):
        write(sample(), tmp_path / "out")


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(CorpusError, match="cannot be written"):
        write(sample(), tmp_path / "file" / "out")


def test_a_fact_that_the_project_does_not_take_stops_it_all(tmp_path: Path) -> None:
    with pytest.raises(FactsError):
        write(Corpus("sample", [Fact(key="no key", question="q", answer="a")]), tmp_path / "out")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["kgfact", "--size", "6x12"],
        ["kgfunc", "--train", "90"],
        ["mquake", "--from", str(Path(__file__).parent / "data" / "mquake.jsonl")],
        ["knowedit", "--from", str(Path(__file__).parent / "data" / "knowedit.json")],
    ],
)
def test_the_digest_depends_on_no_hash_seed(command: list[str], tmp_path: Path) -> None:
    digests = set()
    for seed in ("0", "4711"):
        words = [sys.executable, "-m", "mixsd", "corpus", *command, "--out", str(tmp_path / seed)]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
        digests.add(done.stdout.strip())

    assert len(digests) == 1
    assert contents(tmp_path / "0") == contents(tmp_path / "4711")
