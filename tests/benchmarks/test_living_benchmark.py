"""The benchmark of versions: all of it runs, and what it trains follows what has changed."""

import json
from pathlib import Path

import pytest

from benchmarks.living import EXAMPLES, main, versions
from mixsd.intake.reading import read_facts
from mixsd.living import compare
from tests.fixtures.tiny import register_tiny


def test_versions_add_change_and_retire_facts() -> None:
    first, second, third = versions(read_facts(EXAMPLES))

    assert len(first) == 6
    assert compare(first, second).counts == {"added": 3, "changed": 0, "kept": 5, "retired": 1}
    assert compare(second, third).counts == {"added": 2, "changed": 1, "kept": 7, "retired": 0}


def test_three_versions_are_trained_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_tiny(tmp_path)
    settings = {
        "method": {"type": "sft"},
        "training": {"rank": 2, "epochs": 1, "min_steps": 0, "batch_size": 4},
        "evaluation": {"max_new_tokens": 4, "general": False, "drift": False, "bootstrap": 100},
    }
    arguments = ["--model", "tiny/random", "--cache", str(tmp_path), "--threads", "1"]

    main([*arguments, "--settings", json.dumps(settings)])

    told = json.loads(capsys.readouterr().out)
    assert {name: run["steps"] for name, run in told.items()} == {
        "v1": 2,
        "v2": 1,
        "v3": 1,
        "v3 from the base model": 3,
    }
    assert told["v1"]["living"] is None
    assert told["v2"]["living"]["retired"]["facts"] == 1
    assert told["v3"]["tokens_read"]["training"] < told["v3 from the base model"]["tokens_read"]["training"]
