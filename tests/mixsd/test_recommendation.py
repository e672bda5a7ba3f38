"""Which adapter is recommended, on figures that are made up."""

from typing import Any

import pytest

from mixsd.config import GateConfig
from mixsd.evaluation.score import Score
from mixsd.recommendation import Candidate, recommend


def score(suite: str, base: float, adapter: float) -> Score:
    loss = suite == "drift"
    return Score(suite, "m", 100, base, adapter, adapter - base, None, None, lower_is_better=loss)


def candidate(number: int, gate: str | None = None, **adapter: float) -> Candidate:
    """An adapter by its scores; of the base model they are 0, and 0.7 of what can be lost."""
    bases = {"general": 0.7, "drift": 0.7}
    scores = [score(suite, bases.get(suite, 0.0), value) for suite, value in adapter.items()]
    return Candidate(number, f"way {number}", scores, gate)


def verdict(*points: tuple[float, float], gate: GateConfig | None = None) -> dict[str, Any]:
    """Recommend among adapters by what they memorised and what general knowledge they kept."""
    return recommend([candidate(n, paraphrase=x, general=y) for n, (x, y) in enumerate(points)], gate)


def test_of_those_that_lose_no_more_than_the_margin_the_one_that_memorised_most_is_recommended() -> None:
    found = verdict((1.0, 0.5), (0.9, 0.66), (0.8, 0.7))

    assert (found["recommended"], found["rule"], found["max_drop"]) == (1, "margin", 0.05)
    assert [point["within"] for point in found["points"]] == [False, True, True]
    assert [point["loss"] for point in found["points"]] == pytest.approx([0.2, 0.04, 0.0])
    assert found["why"] == (
        "of the variants that lose at most 5.0% of general it memorised most, 90.0% of paraphrase, and loses "
        "4.0% of general"
    )


def test_a_loss_of_just_the_margin_is_within_it_and_one_that_is_larger_is_not() -> None:
    assert verdict((0.9, 0.65), (0.8, 0.7))["recommended"] == 0
    assert verdict((0.9, 0.6499), (0.8, 0.7))["recommended"] == 1


def test_of_two_that_memorised_as_much_the_one_that_lost_less_is_recommended() -> None:
    assert verdict((0.9, 0.68), (0.9, 0.69), (0.5, 0.8))["recommended"] == 1


def test_the_margin_is_that_of_the_gate_where_it_is_on_what_is_kept() -> None:
    points = ((1.0, 0.5), (0.9, 0.66))

    assert verdict(*points, gate=GateConfig("general", 0.3))["recommended"] == 0
    other = verdict(*points, gate=GateConfig("recall", 0.3))
    assert (other["recommended"], other["max_drop"]) == (1, 0.05)


def test_one_that_its_gate_held_back_is_recommended_only_if_all_were() -> None:
    def among(*gates: str) -> dict[str, Any]:
        return recommend(
            [candidate(n, gate, paraphrase=1 - n / 10, general=0.7) for n, gate in enumerate(gates)]
        )

    assert among("failed", "inconclusive", "passed")["recommended"] == 1
    assert among("failed", "inconclusive", "passed")["why"].endswith("; the gate held back 1 of 3")
    assert among("failed", "failed")["recommended"] == 0
    assert among("failed", "failed")["why"].endswith("; the gate held back all of them")
    assert [point["gate"] for point in among("failed", "passed")["points"]] == ["failed", "passed"]


def test_where_nothing_within_the_margin_learned_anything_the_bend_of_the_frontier_is_recommended() -> None:
    found = verdict((1.0, 0.2), (0.9, 0.55), (0.4, 0.6), (0.0, 0.7))

    assert (found["recommended"], found["rule"], found["knee"]) == (1, "knee", 1)


def test_without_a_bend_it_is_the_one_that_learned_most_beyond_what_it_lost() -> None:
    found = verdict((0.9, 0.4), (0.5, 0.5), (0.0, 0.7))

    assert (found["recommended"], found["rule"]) == (0, "balance")
    assert verdict((0.4, 0.2), (0.3, 0.6))["recommended"] == 1


def test_the_frontier_leaves_out_what_another_one_beats() -> None:
    found = verdict((0.9, 0.6), (0.8, 0.5), (0.9, 0.6), (0.7, 0.7))

    assert [point["on_frontier"] for point in found["points"]] == [True, False, True, True]


def test_drift_counts_turned_round_and_held_out_questions_before_those_that_were_trained() -> None:
    found = recommend(
        [
            candidate(0, recall=1.0, paraphrase=0.9, drift=1.0),
            candidate(1, recall=0.9, paraphrase=0.8, drift=0.72),
        ]
    )

    assert (found["memorised"]["suite"], found["kept"]["suite"]) == ("paraphrase", "drift")
    assert [point["loss"] for point in found["points"]] == pytest.approx([0.3, 0.02])
    assert found["recommended"] == 1
    assert "loses 0.020 nats per token of drift" in found["why"]


def test_only_what_was_measured_of_all_is_compared() -> None:
    found = recommend([candidate(0, recall=0.5, paraphrase=0.9), candidate(1, recall=0.6)])

    assert (found["memorised"]["suite"], found["kept"], found["max_drop"]) == ("recall", None, None)
    assert (found["recommended"], found["rule"], found["knee"]) == (1, "memorised", None)


def test_one_alone_is_recommended() -> None:
    assert (verdict((0.0, 0.0))["recommended"], verdict((0.0, 0.0))["rule"]) == (0, "only")
