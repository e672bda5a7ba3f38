"""`mixsd sweep` prints what each value of lam gives, and refuses what it cannot do."""

import json
from pathlib import Path

from typer.testing import CliRunner

from mixsd.cli import cli
from tests.fixtures.tiny import register_tiny

FACTS = "".join(
    json.dumps({"key": f"f{n}", "question": f"Which is {n}?", "answer": f"the {n}th"}) + "\n"
    for n in range(3)
)


def sweep(folder: Path, method: dict[str, object], *values: str) -> tuple[int, str, str]:
    register_tiny(folder / "models")
    (folder / "facts.jsonl").write_text(FACTS)
    (folder / "config.json").write_text(json.dumps({"method": method}))
    arguments = ["sweep", str(folder / "facts.jsonl"), "--model", "tiny/random"]
    arguments += ["--cache", str(folder / "models"), "--config", str(folder / "config.json")]
    arguments += ["--device", "cpu", *(option for value in values for option in ("--lam", value))]
    done = CliRunner().invoke(cli, arguments)
    return done.exit_code, done.stdout, done.output


def test_each_value_has_a_row(tmp_path: Path) -> None:
    method = {"type": "mixsd", "max_attempts": 2, "max_new_tokens": 6, "score_both": True}

    code, out, output = sweep(tmp_path, method, "0.2", "0.9")

    assert code == 0, output
    rows = json.loads(out)
    assert [row["lam"] for row in rows] == [0.2, 0.9]
    assert all(row["facts"] == 3 for row in rows)
    assert all(row["attempts"] >= 3 for row in rows)


def test_another_method_and_a_value_out_of_bounds_are_refused(tmp_path: Path) -> None:
    code, _, output = sweep(tmp_path, {"type": "sft"}, "0.2")
    assert code != 0
    assert "lam is swept for the method mixsd alone" in output

    code, _, output = sweep(tmp_path, {"type": "mixsd"}, "1.5")
    assert code == 2
    assert "Error" in output
