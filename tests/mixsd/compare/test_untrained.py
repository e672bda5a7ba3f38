"""Rows of what takes no steps of training: neither budget applies, and seeds still do."""

import json
from pathlib import Path

import pytest

from mixsd.compare.methods import Common, Match, methods_of
from mixsd.compare.table import markdown
from mixsd.config import MemitConfig, TrainConfig
from mixsd.errors import ConfigError
from tests.mixsd.compare.conftest import RECALL, STEPS, NewComparison, rows_in, timeless

MEMIT = 'edit={"method": {"type": "memit", "covariance_tokens": 64, "v_steps": 3}}'


def test_its_plan_has_the_seed_and_none_of_the_settings_of_training() -> None:
    (method,) = methods_of(["memit"])

    plan = method.plan(3, Match(steps=12), Common(training={"rank": 2}, evaluation={"general": False}))

    assert plan.method == MemitConfig(seed=3)
    assert plan.training == TrainConfig()
    assert not plan.evaluation.general


def test_settings_of_training_in_a_plan_of_ones_own_are_refused() -> None:
    (method,) = methods_of(['mine={"method": {"type": "memit"}, "training": {"rank": 4}}'])

    with pytest.raises(ConfigError, match="method mine: it is not trained, so it takes no settings"):
        method.plan(0, Match())


@pytest.mark.parametrize("match", [STEPS, RECALL], ids=["steps", "recall"])
def test_there_is_a_row_for_each_seed_whatever_the_budget(
    new: NewComparison, tmp_path: Path, match: Match
) -> None:
    document = new(tmp_path, methods=[MEMIT], match=match).run()

    rows = rows_in(tmp_path)
    assert [(row["method"], row["seed"]) for row in rows] == [("edit", 0), ("edit", 1)]
    for row in rows:
        assert "error" not in row
        assert (row["steps"], row["reached"], row["checks"]) == (None, None, [])
        assert (row["training"]["steps"], row["supervised"]) == (3, 3)
        assert row["plan"]["method"]["seed"] == row["seed"]
    assert rows[0]["training"] != rows[1]["training"]
    figures = markdown(document).split("## Figures")[1].split("##")[0]
    assert "steps" not in figures
    assert "| edit | 0, 1 |" in figures


def test_a_row_is_made_once_and_comes_out_the_same(new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path / "first", methods=[MEMIT], seeds=[0]).run()
    before = (tmp_path / "first" / "compare.json").read_bytes()

    new(tmp_path / "first", methods=[MEMIT], seeds=[0]).run()
    new(tmp_path / "second", methods=[MEMIT], seeds=[0]).run()

    assert (tmp_path / "first" / "compare.json").read_bytes() == before
    assert timeless(rows_in(tmp_path / "first")) == timeless(rows_in(tmp_path / "second"))
    assert json.loads(before)["rows"]
