"""The retention gate: what it stands on, what it comes to, and how it is said."""

import json

import pytest

from mixsd.config import GATE_SUITES, EvalConfig, GateConfig
from mixsd.errors import ConfigError
from mixsd.evaluation.gate import Gate, check, decide
from mixsd.evaluation.judge import judge
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.said import gate_line
from mixsd.evaluation.score import Score
from mixsd.evaluation.statistics import compare
from mixsd.evaluation.suites import general
from mixsd.facts import Fact, Probe

FACT = Fact("a", "Who?", "Odo", paraphrases=("Whom?",))


def a_score(suite: str, base: list[float], adapter: list[float]) -> Score:
    loss = suite == "drift"
    metric = "nats_per_token" if loss else "accuracy"
    return compare(suite, metric, base, adapter, resamples=100, confidence=0.95, lower_is_better=loss)


SCORES = [
    a_score("recall", [0.0] * 40, [1.0] * 40),
    a_score("general", [1.0] * 100, [1.0] * 70 + [0.0] * 30),
    a_score("drift", [0.5, 0.75, 1.0] * 8, [0.55, 0.8, 1.06] * 8),
]


@pytest.mark.parametrize(
    ("suite", "max_drop", "status"),
    [
        ("recall", 0.0, "passed"),
        ("general", 0.1, "failed"),
        ("general", 0.3, "inconclusive"),
        ("general", 0.5, "passed"),
        ("drift", 0.1, "passed"),
        ("drift", 0.01, "failed"),
        ("paraphrase", 0.1, "inconclusive"),
    ],
)
def test_a_gate_is_decided_by_the_marks_of_its_suite(suite: str, max_drop: float, status: str) -> None:
    gate = decide(SCORES, GateConfig(suite, max_drop))

    assert (gate.status, gate.suite, gate.max_drop, gate.confidence) == (status, suite, max_drop, 0.95)
    assert (gate.reason is None) == (status != "inconclusive")


def test_a_gate_is_plain_data_with_everything_that_it_rests_on() -> None:
    body = json.loads(json.dumps(decide(SCORES, GateConfig("general", 0.1, confidence=0.9)).to_json()))

    assert body == {
        "status": "failed",
        "suite": "general",
        "metric": "accuracy",
        "max_drop": 0.1,
        "confidence": 0.9,
        "n": 100,
        "base": 1.0,
        "adapter": 0.7,
        "difference": pytest.approx(-0.3),
        "low": pytest.approx(-0.362, abs=1e-3),
        "high": pytest.approx(-0.245, abs=1e-3),
        "lower_is_better": False,
        "reason": None,
    }


def test_what_was_not_measured_leaves_it_open() -> None:
    empty = Score("probe", "accuracy", 0, None, None, None, None, None)

    gate = decide([empty], GateConfig("probe", 0.1))

    reason = "probe was not measured: none of its questions could be asked"
    assert (gate.status, gate.n, gate.difference, gate.reason) == ("inconclusive", 0, None, reason)


def test_a_judgement_holds_the_gate_that_was_asked_for() -> None:
    items = general().items
    before = Measured((("?", "?"),), tuple(item.answer for item in items), (), ())
    after = Measured((("Odo", "?"),), (None,) * len(items), (), ())

    asked = EvalConfig(bootstrap=100, gate=GateConfig("general", 0.05))
    gates = [judge([FACT], [], before, after, config).gate for config in (asked, EvalConfig(bootstrap=100))]

    assert gates[0] is not None
    assert (gates[0].status, gates[0].n) == ("failed", len(items))
    assert gates[1] is None


def test_a_gate_needs_facts_that_ask_for_it() -> None:
    probed = Fact("b", "Where?", "Here", probes=(Probe("Where not?", "There", "hop"),))

    check([FACT, probed], EvalConfig())
    for suite in ("probe", "probe_hop", "paraphrase"):
        check([FACT, probed], EvalConfig(gate=GateConfig(suite, 0.1)))
    check([probed], EvalConfig(gate=GateConfig("drift", 0.1)))
    for facts, suite in (([FACT], "probe"), ([probed], "paraphrase"), ([probed], "probe_neighbour")):
        with pytest.raises(ConfigError, match=f"gate.suite is {suite}, which is not measured"):
            check(facts, EvalConfig(gate=GateConfig(suite, 0.1)))


@pytest.mark.parametrize("suite", ["general", "drift"])
def test_a_gate_is_not_on_what_is_switched_off(suite: str) -> None:
    with pytest.raises(ConfigError, match=f"gate.suite is {suite}, which is not measured"):
        EvalConfig(gate=GateConfig(suite, 0.1), general=suite != "general", drift=suite != "drift")


@pytest.mark.parametrize("suite", GATE_SUITES)
def test_of_a_share_less_than_all_can_be_lost(suite: str) -> None:
    if suite == "drift":
        assert GateConfig(suite, 1.5).max_drop == 1.5
    else:
        with pytest.raises(ConfigError, match="are five points"):
            GateConfig(suite, 5)


def test_a_gate_is_said_in_a_line() -> None:
    lines = [gate_line(decide(SCORES, GateConfig(suite, 0.1)).to_json()) for suite in ("drift", "probe")]

    assert lines == [
        (
            "Gate passed: drift 0.750 before, 0.803 after; difference +0.053, bounds +0.052 and +0.055 (95% "
            "each), and at most 0.100 may be lost"
        ),
        "Gate inconclusive: probe: probe was not measured: none of its questions could be asked",
    ]
    open_ = gate_line(decide(SCORES, GateConfig("general", 0.3)).to_json())
    assert open_.endswith("may be lost: 100 items cannot tell whether the loss is below 0.3")


def test_a_gate_without_an_interval_is_said_as_well() -> None:
    gate: Gate = decide([a_score("drift", [0.5], [0.625])], GateConfig("drift", 0.1))

    assert gate_line(gate.to_json()) == (
        "Gate inconclusive: drift 0.500 before, 0.625 after; difference +0.125: one item has no interval"
    )
