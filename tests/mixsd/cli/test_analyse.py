"""`mixsd analyse`: files in a folder, and mistakes that are explained."""

import json
from pathlib import Path

import pytest
from click import unstyle
from typer.testing import CliRunner, Result

from mixsd.cli import cli

FACTS = "".join(
    json.dumps({"key": f"f{n}", "question": f"Which is {n}?", "answer": f"the {n}th"}) + "\n"
    for n in range(3)
)
CONFIG = {
    "method": {"type": "sft"},
    "training": {"rank": 2, "alpha": 4, "epochs": 1, "min_steps": 0},
    "evaluation": {"max_new_tokens": 4, "general": False, "bootstrap": 100},
}


def call(cache: Path, *words: str) -> Result:
    always = ["--device", "cpu", "--threads", "1"]
    return CliRunner().invoke(cli, [*words, *always], env={"MIXSD_MODEL_CACHE": str(cache), "COLUMNS": "200"})


@pytest.fixture(scope="module")
def run(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("run")
    (here / "facts.jsonl").write_text(FACTS)
    (here / "config.json").write_text(json.dumps(CONFIG))
    words = ["inject", str(here / "facts.jsonl"), "--model", "tiny/random", "--out", str(here / "out")]
    done = call(tiny_cache, *words, "--config", str(here / "config.json"), "--no-cache-supervision")
    assert done.exit_code == 0, done.output
    return here / "out"


def test_the_command_finds_the_model_of_the_run_and_writes_beside_it(run: Path, tiny_cache: Path) -> None:
    done = call(
        tiny_cache, "analyse", str(run), "--fisher-samples", "1", "--fisher-tokens", "4", "--tau", "2"
    )

    assert done.exit_code == 0, done.output
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert paths[-1] == run / "analysis" / "index.html"
    assert all(path.is_file() for path in paths)
    assert {path.parent.name for path in paths[:-1]} == {"nats", "fisher"}
    assert "mixsd: no frontier: the lam frontier needs a comparison" in done.stderr
    assert json.loads((run / "analysis" / "nats" / "nats.json").read_text())["tau"] == 2.0
    fisher = json.loads((run / "analysis" / "fisher" / "fisher.json").read_text())
    assert (fisher["unit"], fisher["max_new_tokens"]) == ("sequence", 4)


def test_a_fact_can_be_asked_for(run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    done = call(tiny_cache, "analyse", str(run), "--fact", "f1", "--out", str(tmp_path / "own"))

    assert done.exit_code == 0, done.output
    assert (tmp_path / "own" / "fact-f1" / "fact-f1.json").is_file()
    assert "Which is 1?" in (tmp_path / "own" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--only", "frontier"], 1, "the lam frontier needs a comparison"),
        (["--only", "x"], 2, "--only"),
        (["--fact", "f9"], 1, "no text of a fact 'f9' is stored: there are 3 facts"),
        (["--fact", "../f1"], 1, "no text of a fact '../f1' is stored"),
        (["--tau", "-1"], 2, "--tau"),
        (["--fisher-samples", "0"], 2, "--fisher-samples"),
        (["--fisher-tokens", "4096", "--only", "fisher"], 1, "no open prompt and its answer fit into 512"),
        (["--out", __file__], 2, "--out"),
        ([str(Path(__file__).parent)], 1, "is no folder of a run"),
        (["nowhere"], 2, "nowhere"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_written(
    run: Path, tiny_cache: Path, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    out = tmp_path / "out"

    done = call(tiny_cache, "analyse", str(run), "--out", str(out), *arguments)

    assert (done.exit_code, done.stdout) == (status, "")
    assert said in unstyle(done.stderr)
    assert not out.exists()


def test_a_model_that_is_not_there_is_told(run: Path, tiny_cache: Path, tmp_path: Path) -> None:
    settings = json.loads((run / "settings.json").read_text())
    settings["base_model"] |= {"id": "smollm2-135m-instruct", "revision": "nowhere"}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "supervision.jsonl").write_bytes((run / "supervision.jsonl").read_bytes())

    done = call(tiny_cache, "analyse", str(tmp_path))

    assert (done.exit_code, done.stdout) == (1, "")
    assert "smollm2-135m-instruct has no revision nowhere" in done.stderr
    assert not (tmp_path / "analysis").exists()
