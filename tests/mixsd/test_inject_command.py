"""The command that makes an adapter, on a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click import unstyle
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from mixsd.packaging import WEIGHTS

BAD_FACTS = (
    '{"key": "a", "question": "Q?"}\n{"key": "b", "question"\n{"question": "Q?", "answer": "A", "who": 1}\n'
)


def mixsd(*arguments: str, cwd: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "MIXSD_MODEL_CACHE": str(cache),
        "COLUMNS": "200",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return subprocess.run(
        [sys.executable, "-m", "mixsd", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "facts.jsonl").write_text('{"question": "Who?", "answer": "Odo"}\n')
    (tmp_path / "bad.jsonl").write_text(BAD_FACTS)
    return tmp_path


def test_the_command_prints_every_problem_of_the_facts_in_its_own_line(here: Path, tiny_cache: Path) -> None:
    done = mixsd("inject", "bad.jsonl", "--out", "run", cwd=here, cache=tiny_cache)

    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for line, (place, code) in zip(
        lines,
        [
            ("line 1, column 1, /answer, fact a:", "missing_field"),
            ("line 2, column", "malformed_json"),
            ("line 3, column 35, /who:", "unknown_field"),
        ],
        strict=True,
    ):
        assert place in line
        assert f"[{code}]" in line
    assert not (here / "run").exists()


def inject_here(here: Path, cache: Path, *arguments: str) -> Result:
    always = ["--out", str(here / "run"), "--cache", str(cache), "--threads", str(torch.get_num_threads())]
    return CliRunner().invoke(cli, ["inject", str(here / "facts.jsonl"), *always, *arguments])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--model", "nonsense"], 1, "model_not_allowed"),
        (["--model", "tiny/random", "--device", "warp9"], 1, "bad_model"),
        (["--out", __file__], 2, "--out"),
        (["--threads", "-1"], 2, "--threads"),
        (["--config", "nowhere.json"], 2, "--config"),
    ],
)
def test_the_command_explains_a_mistake_and_writes_nothing(
    here: Path, tiny_cache: Path, arguments: list[str], status: int, said: str
) -> None:
    done = inject_here(here, tiny_cache, *arguments)

    assert (done.exit_code, done.stdout) == (status, "")
    assert said in unstyle(done.stderr)
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 99_999,
        b'{"method": 1}',
        b'{"methods": {}}',
        b'{"method": {"lam": NaN}}',
        b'{"method": {"max_attempts": 2.5}}',
    ],
    ids=range(9),
)
def test_settings_that_cannot_be_used_are_refused(here: Path, tiny_cache: Path, text: bytes) -> None:
    (here / "c.json").write_bytes(text)

    done = inject_here(here, tiny_cache, "--config", str(here / "c.json"))

    assert (done.exit_code, done.stdout) == (1, "")
    assert "bad_setting" in done.stderr
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"target_modules": ["nowhere"]}, "no layer nowhere"),
        ({"rank": 512}, "rank 512 is above"),
        ({"precision": "bf16"}, "precision"),
        ({"quantize": "nf4"}, "quantize"),
        ({"shard": "full"}, "shard full shares the base model out among processes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_trained_is_refused_before_texts_are_made(
    here: Path, tiny_cache: Path, training: dict[str, Any], said: str
) -> None:
    (here / "c.json").write_text(json.dumps({"training": training}))

    done = inject_here(here, tiny_cache, "--model", "tiny/random", "--config", str(here / "c.json"))

    assert (done.exit_code, done.stdout) == (1, "")
    assert "bad_setting" in done.stderr
    assert said in " ".join(unstyle(done.stderr).split())
    assert not (here / "run").exists()


def test_the_command_makes_an_adapter(here: Path, tiny_cache: Path) -> None:
    settings: dict[str, Any] = {
        "method": {"type": "sft"},
        "training": {"rank": 2, "epochs": 4, "min_steps": 0, "learning_rate": 0.02},
        "evaluation": {
            "general": False,
            "bootstrap": 100,
            "gate": {"suite": "drift", "max_drop": 0},  # words of its own become less probable
        },
    }
    (here / "c.json").write_text(json.dumps(settings))
    arguments = ["--model", "tiny/random", "--config", "c.json", "--device", "cpu", "--threads", "1"]

    done = mixsd("inject", "facts.jsonl", "--out", "run", *arguments, cwd=here, cache=tiny_cache)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "run/adapter\n"
    assert (here / "run" / "adapter" / WEIGHTS).is_file()
    assert "recall (accuracy, n 1)" in done.stderr
    assert "wrong answers of recall: base 1" in done.stderr
    assert "Gate failed: drift" in done.stderr
    assert "The adapter lost more than its gate allows" in done.stderr
    report = json.loads((here / "run" / "report.json").read_text())
    assert report["gate"]["status"] == "failed"
    assert "Gate failed: drift" in (here / "run" / "adapter" / "README.md").read_text()


def test_a_gate_on_what_the_facts_do_not_ask_is_refused_before_anything_is_written(
    here: Path, tiny_cache: Path
) -> None:
    (here / "c.json").write_text(json.dumps({"evaluation": {"gate": {"suite": "probe", "max_drop": 0.1}}}))

    done = inject_here(here, tiny_cache, "--model", "tiny/random", "--config", str(here / "c.json"))

    assert (done.exit_code, done.stdout) == (1, "")
    assert "gate.suite is probe, which is not measured" in " ".join(unstyle(done.stderr).split())
    assert not (here / "run").exists()
