"""What is found in folders, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.runs import find_runs


def test_a_run_is_what_its_files_say(injected: Path) -> None:
    found = find_runs([injected])

    (run,) = found.runs
    assert found.base_model["id"] == "tiny/random"
    assert (run.name, run.kind, run.prompt_style) == ("injected: mixsd, seed 0", "mixsd", "natural")
    assert run.records == injected / "supervision.jsonl"
    assert run.adapter == injected / "weights"
    report = json.loads((injected / "report.json").read_text())
    assert [run.scores[score["suite"]] for score in report["scores"]] == report["scores"]


def test_a_run_is_found_as_far_as_it_has_come(injected: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes((injected / "settings.json").read_bytes())

    (run,) = find_runs([tmp_path]).runs

    assert (run.records, run.adapter, dict(run.scores)) == (None, None, {})


def test_a_comparison_has_a_run_for_each_row(compared: Path) -> None:
    found = find_runs([compared])

    assert [(run.method, run.seed) for run in found.runs] == [("sft", 0), ("mix", 0), ("sft", 1), ("mix", 1)]
    assert all(run.records and run.adapter for run in found.runs)
    assert len({run.records for run in found.runs}) == 4
    assert list(found.comparisons) == ["compared"]


def test_rows_that_failed_or_were_not_kept_are_told_apart(compared: Path, tmp_path: Path) -> None:
    document = json.loads((compared / "compare.json").read_text())
    document["rows"][0] = {"key": "a1", "method": "sft", "seed": 0, "error": {"code": "x", "message": "y"}}
    (tmp_path / "compare.json").write_text(json.dumps(document))

    found = find_runs([tmp_path])

    assert len(found.runs) == 3
    assert all(run.records is None and run.adapter is None for run in found.runs)


def test_folders_of_one_name_are_numbered(injected: Path, tmp_path: Path) -> None:
    shutil.copytree(injected, tmp_path / "injected")

    found = find_runs([injected, tmp_path / "injected"])

    assert [run.folder for run in found.runs] == ["injected (1)", "injected (2)"]


def test_a_folder_that_is_given_twice_is_refused(injected: Path) -> None:
    with pytest.raises(NotAnalysableError, match="given twice"):
        find_runs([injected, injected / ".." / "injected"])


def test_runs_of_two_models_are_refused(injected: Path, tmp_path: Path) -> None:
    settings = json.loads((injected / "settings.json").read_text())
    settings["base_model"]["revision"] = "r2"
    (tmp_path / "settings.json").write_text(json.dumps(settings))

    with pytest.raises(NotAnalysableError, match=r"tiny/random at r1 .*tiny/random at r2 .*one by one"):
        find_runs([injected, tmp_path])


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAnalysableError, match=r"is no folder of a run: there is neither settings\.json"):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"base_model": {"id": 1}}', '{"method": null}', "\udcff"]
)
@pytest.mark.parametrize("name", ["settings.json", "compare.json"])
def test_a_file_that_is_broken_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(NotAnalysableError, match=name):
        find_runs([tmp_path])


def without(*path: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for name in path[:-1]:
            document = document[name]
        del document[path[-1]]

    return change


def with_row(**values: Any) -> Callable[[Any], None]:
    return lambda document: document["rows"][0].update(values)


@pytest.mark.parametrize(
    "change",
    [
        without("comparison", "base_model", "revision"),
        without("comparison", "evaluation"),
        with_row(key="../../etc"),
        with_row(plan={}),
        with_row(scores=None),
        with_row(seed="x"),
        lambda document: document.update(version=9),
        lambda document: document.update(rows=[1]),
    ],
)
def test_a_comparison_that_is_none_is_refused(
    compared: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    document = json.loads((compared / "compare.json").read_text())
    change(document)
    (tmp_path / "compare.json").write_text(json.dumps(document))

    with pytest.raises(NotAnalysableError, match=r"compare\.json"):
        find_runs([tmp_path])


def test_a_report_that_is_none_is_refused(injected: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes((injected / "settings.json").read_bytes())
    (tmp_path / "report.json").write_text('{"scores": [1]}')

    with pytest.raises(NotAnalysableError, match=r"report\.json holds no scores"):
        find_runs([tmp_path])
