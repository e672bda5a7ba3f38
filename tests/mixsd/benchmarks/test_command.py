"""`mixsd benchmark`: results in a folder, mistakes on one line with exit status 2."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mixsd.cli import cli
from tests.mixsd.benchmarks import files


def benchmark(cache: Path, *words: str) -> Result:
    return CliRunner().invoke(
        cli, ["benchmark", "tiny/random", *words, "--cache", str(cache), "--threads", "1"]
    )


def test_results_stand_in_the_folder(tiny_cache: Path, tmp_path: Path) -> None:
    words = ["--suites", "general", "drift,kgfunc_unseen", "--limit", "3", "--out", str(tmp_path)]

    done = benchmark(tiny_cache, *words, "--no-cache-results")

    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'benchmark.json'}\n"
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(suite["suite"], suite["n"]) for suite in report["suites"]] == [
        ("general", 3),
        ("drift", 3),
        ("kgfunc_unseen", 3),
    ]
    assert "general (accuracy, n 3): 0.000" in done.stderr
    assert not (tiny_cache / "benchmarks").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suites", "nothing"], "there is no benchmark nothing: general, drift"),
        (["--suites", "general", "--data", "arc_easy"], "--data arc_easy: expected SUITE=PATH"),
        (["--suites", "general", "--data", "general=x"], "general reads no file; those that do: arc_easy"),
        (
            ["--suites", "general", "--adapter", "."],
            "holds no adapter: there is no adapter_model.safetensors",
        ),
    ],
)
def test_bad_input_is_explained_on_one_line(
    words: list[str], said: str, tiny_cache: Path, tmp_path: Path
) -> None:
    done = benchmark(tiny_cache, *words, "--limit", "1", "--out", str(tmp_path / "out"))

    assert done.exit_code == 2
    assert said in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_without_the_harness_the_way_to_get_it_is_told(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("mixsd.benchmarks.harness.version", version)

    done = benchmark(tiny_cache, "--suites", "piqa", "--out", str(tmp_path / "out"))

    assert done.exit_code == 2
    assert "piqa runs on lm-evaluation-harness, which is not installed: pip install 'mixsd[benchmarks]'" in (
        done.stderr
    )


def test_a_benchmark_with_its_data_by_path(tiny_cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness comes with the extra benchmarks")
    path = files.write(tmp_path / "mine.jsonl", files.arc())
    out = tmp_path / "out"
    words = ["--suites", "arc_easy", "--data", f"arc_easy={path}", "--out", str(out), "--no-cache-results"]

    done = benchmark(tiny_cache, *words)

    assert done.exit_code == 0, done.output
    (suite,) = json.loads((out / "benchmark.json").read_text())["suites"]
    assert suite["settings"]["data"]["from"] == "mine.jsonl"
    assert suite["n"] == 7

    path.write_text('{"question": "q", "choices": ["a", "b"]}\n')
    done = benchmark(tiny_cache, *words)
    assert done.exit_code == 2
    assert "arc_easy: mine.jsonl, line 1: `gold` is missing" in done.stderr
