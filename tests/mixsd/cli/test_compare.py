"""`mixsd compare`: a table in a folder, and mistakes that are explained before anything is loaded."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from click import unstyle
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.cli._lists import spread

FACTS = "".join(
    json.dumps({"key": f"f{n}", "question": f"Which is {n}?", "answer": f"the {n}th"}) + "\n"
    for n in range(3)
)
CONFIG = {
    "training": {"rank": 2, "alpha": 4, "learning_rate": 0.01},
    "evaluation": {"max_new_tokens": 4, "general": False, "bootstrap": 100},
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "facts.jsonl").write_text(FACTS)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def compare(here: Path, cache: Path, *arguments: str, facts: str = "facts.jsonl") -> Result:
    always = ["--out", str(here / "out"), "--model", "tiny/random", "--device", "cpu", "--threads", "1"]
    always += ["--config", str(here / "config.json"), "--no-cache-supervision"]
    words = ["compare", str(here / facts), *always, *arguments]
    return CliRunner().invoke(cli, words, env={"MIXSD_MODEL_CACHE": str(cache), "COLUMNS": "200"})


def test_the_command_writes_rows_and_a_table(here: Path, tiny_cache: Path) -> None:
    (here / "plans.toml").write_text('[own]\nmethod = {type = "sft"}\ntraining = {rank = 1}\n')
    words = [
        "--steps",
        "2",
        "--plans",
        str(here / "plans.toml"),
        "--methods",
        "sft",
        "own",
        "--seeds",
        "0",
        "5",
    ]

    done = compare(here, tiny_cache, *words)

    assert done.exit_code == 0, done.output
    out = here / "out"
    assert done.stdout.splitlines()[0] == str(out / "compare.md")
    document = json.loads((out / "compare.json").read_text())
    cells = [(row["method"], row["seed"], row["steps"]) for row in document["rows"]]
    assert cells == [("sft", 0, 2), ("own", 0, 2), ("sft", 5, 2), ("own", 5, 2)]
    table = (out / "compare.md").read_text()
    assert "| own | 0, 5 | 2 |" in table
    assert "sft, seed 5: 2 steps; recall 0.000" in done.stderr
    can_draw = find_spec("matplotlib") is not None
    assert [(out / name).exists() for name in ("compare.png", "compare.svg")] == [can_draw] * 2
    assert ("pip install 'mixsd[plots]'" in done.stderr) is not can_draw


def test_plans_of_a_file_are_what_is_compared(here: Path, tiny_cache: Path) -> None:
    (here / "plans.json").write_text('{"own": {"method": {"type": "sft"}}}')

    done = compare(here, tiny_cache, "--steps", "1", "--seeds", "0", "--plans", str(here / "plans.json"))

    assert done.exit_code == 0, done.output
    rows = json.loads((here / "out" / "compare.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["own"]


def test_a_method_that_fails_is_told_and_the_command_fails(here: Path, tiny_cache: Path) -> None:
    lost = 'lost={"method": {"type": "sft"}, "training": {"target_modules": ["nowhere"]}}'

    done = compare(here, tiny_cache, "--steps", "1", "--methods", lost, "sft", "--seeds", "0")

    assert done.exit_code == 1
    assert "lost, seed 0: failed: target_modules: tiny/random has no layer nowhere" in done.stderr
    assert "1 rows failed; the same command tries them again" in done.stderr
    assert "## Failed" in (here / "out" / "compare.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--methods", "sft", "lora"], 1, "there is no method 'lora'; those are sft,"),
        (["--methods", "sft", "sft"], 1, "the method sft is named twice"),
        (["--methods", "mine={"], 1, "what follows the = is no JSON"),
        (["--methods", 'mine={"method": {"type": "sft", "lam": 1}}'], 1, "method.lam is no setting"),
        (["--methods"], 2, "--methods"),
        (["--seeds", "0", "0"], 1, "the seed 0 is given twice"),
        (["--seeds", "0", "-1"], 2, "-1"),
        (["--seeds", "x"], 2, "--seeds"),
        (["--match", "luck"], 2, "--match"),
        (["--steps", "0"], 2, "--steps"),
        (["--match", "recall", "--recall", "0"], 1, "recall must be in"),
        (["--match", "recall", "--recall", "1.5"], 2, "--recall"),
        (["--match", "recall", "--every", "0"], 2, "--every"),
        (["--plans", "nowhere.toml"], 2, "--plans"),
        (["--plans", __file__], 1, "cannot be read as plans"),
        (["--model", "nonsense"], 1, "model_not_allowed"),
        (["--out", __file__], 2, "--out"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_written(
    here: Path, tiny_cache: Path, arguments: list[str], status: int, said: str
) -> None:
    done = compare(here, tiny_cache, *arguments)

    assert (done.exit_code, done.stdout) == (status, "")
    assert said in unstyle(done.stderr)
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"method": {"type": "sft"}}, "`method` is named by --methods or --plans"),
        ({"training": {"epochs": 3}}, "training.epochs is decided by the comparison"),
        ({"training": {"rank": 0}}, "rank must be in"),
        ({"evaluation": {"verifier": "x"}}, "verifier must be one of"),
    ],
)
def test_settings_that_cannot_be_common_are_refused(
    here: Path, tiny_cache: Path, config: dict[str, object], said: str
) -> None:
    (here / "config.json").write_text(json.dumps(config))

    done = compare(here, tiny_cache)

    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert not (here / "out").exists()


def test_facts_are_needed(here: Path, tiny_cache: Path) -> None:
    (here / "none.jsonl").write_text("\n")

    done = compare(here, tiny_cache, facts="none.jsonl")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no fact in it" in done.stderr
    assert CliRunner().invoke(cli, ["compare", "--methods", "sft", "--out", "x"]).exit_code == 2


def test_the_folder_of_another_comparison_is_left_alone(here: Path, tiny_cache: Path) -> None:
    words = ["--methods", "sft", "--seeds", "0"]
    first = compare(here, tiny_cache, "--steps", "1", *words)
    before = {path.name: path.read_bytes() for path in (here / "out").iterdir() if path.is_file()}

    other = compare(here, tiny_cache, "--steps", "2", *words)
    again = compare(here, tiny_cache, "--steps", "1", *words)

    assert first.exit_code == again.exit_code == 0
    assert (other.exit_code, other.stdout) == (1, "")
    assert "holds a comparison with another match: choose another --out" in other.stderr
    assert {path.name: path.read_bytes() for path in (here / "out").iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("f --seeds 0 1 --out x", "f --seeds 0 --seeds 1 --out x"),
        ("--seeds 0 --methods a b -x c", "--seeds 0 --methods a --methods b -x c"),
        ("--methods=a b", "--methods=a b"),
        ("f --methods", "f --methods"),
        ("--methods --seeds 1", "--methods --seeds 1"),
        ("--seeds 0 --seeds 1 2", "--seeds 0 --seeds 1 --seeds 2"),
    ],
)
def test_a_list_is_an_option_repeated(words: str, meant: str) -> None:
    assert list(spread(words.split())) == meant.split()
