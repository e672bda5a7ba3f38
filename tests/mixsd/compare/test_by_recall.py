"""Training until recall is what it should be, in pieces, killed and gone on with."""

import itertools
import json
from pathlib import Path

import pytest

from mixsd.compare.methods import Match
from mixsd.progress import OnProgress, Progress, silent
from tests.mixsd.compare.conftest import MIX, RECALL, Killed, NewComparison, rows_in, timeless


def test_with_recall_each_is_trained_until_it_knows_as_much(new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path, methods=["sft", MIX], seeds=[0], match=RECALL).run()

    for row in rows_in(tmp_path):
        steps = [step for step, _ in row["checks"]]
        assert row["reached"]
        assert steps == list(range(2, row["steps"] + 1, 2))
        assert row["checks"][-1][1] == row["scores"]["recall"]["adapter"] == 1.0
        assert all(recall < 1.0 for _, recall in row["checks"][:-1])
        assert 2 < row["steps"] < 40
        assert "checking" in row["seconds"]


def test_training_in_pieces_is_training_at_once(new: NewComparison, tmp_path: Path) -> None:
    new(tmp_path / "pieces", methods=["sft"], seeds=[0], match=RECALL).run()
    (row,) = rows_in(tmp_path / "pieces")

    new(tmp_path / "once", methods=["sft"], seeds=[0], match=Match(steps=row["steps"])).run()

    (other,) = rows_in(tmp_path / "once")
    for name in ("training", "scores", "counts"):
        assert row[name] == other[name]


def test_a_piece_goes_on_where_the_last_one_ended(new: NewComparison, tmp_path: Path) -> None:
    seen: list[int] = []

    def note(phase: str) -> OnProgress:
        return lambda progress: seen.append(progress.done) if phase == "training" else None

    new(tmp_path, methods=["sft"], seeds=[0], match=RECALL, on_phase=note).run()

    (row,) = rows_in(tmp_path)
    taken = [after - before for before, after in itertools.pairwise(seen)]
    assert taken.count(1) == seen[-1] == row["steps"]
    assert set(taken) == {0, 1}  # a piece reports where it begins


def test_recall_that_is_not_reached_says_so(new: NewComparison, tmp_path: Path) -> None:
    match = Match("recall", steps=3, recall=1.0, every=2)

    new(tmp_path, methods=["sft"], seeds=[0], match=match).run()

    (row,) = rows_in(tmp_path)
    assert (row["reached"], row["steps"]) == (False, 3)
    assert [step for step, _ in row["checks"]] == [2, 3]


@pytest.mark.parametrize("at", [3, 4, 5])
def test_a_run_by_recall_that_was_killed_ends_as_if_it_had_not_been(
    new: NewComparison, tmp_path: Path, at: int
) -> None:
    """Before a check, right at it, and behind it; a check that was made is not made again."""

    def kill(phase: str) -> OnProgress:
        def stop(progress: Progress, /) -> None:
            if phase == "training" and progress.done == at:
                raise Killed

        return stop

    new(tmp_path / "straight", methods=["sft"], seeds=[0], match=RECALL).run()
    with pytest.raises(Killed):
        new(tmp_path / "killed", methods=["sft"], seeds=[0], match=RECALL, on_phase=kill).run()
    (checks,) = (tmp_path / "killed").glob("work/*/checks.json")
    assert [step for step, _ in json.loads(checks.read_text())["checks"]] == ([2] if at < 5 else [2, 4])

    new(tmp_path / "killed", methods=["sft"], seeds=[0], match=RECALL).run()

    assert timeless(rows_in(tmp_path / "killed")) == timeless(rows_in(tmp_path / "straight"))


def test_a_run_that_was_killed_behind_its_last_check_trains_no_further(
    new: NewComparison, tmp_path: Path
) -> None:
    def kill(phase: str) -> OnProgress:
        if phase == "evaluating":
            raise Killed
        return silent

    new(tmp_path / "straight", methods=["sft"], seeds=[0], match=RECALL).run()
    with pytest.raises(Killed):
        new(tmp_path / "killed", methods=["sft"], seeds=[0], match=RECALL, on_phase=kill).run()

    new(tmp_path / "killed", methods=["sft"], seeds=[0], match=RECALL).run()

    assert timeless(rows_in(tmp_path / "killed")) == timeless(rows_in(tmp_path / "straight"))
