"""From answers to the ledger of facts and scores."""

import json
from dataclasses import replace
from typing import Any

from mixsd.config import EvalConfig
from mixsd.evaluation.judge import Judgement, Verdict, judge
from mixsd.evaluation.measure import Measured
from mixsd.evaluation.questions import questions_of
from mixsd.evaluation.suites import general
from mixsd.facts import Fact, Probe
from mixsd.supervision import Supervision

CONFIG = EvalConfig(general=False, drift=False, bootstrap=100)
MAYOR = Fact(
    "mayor",
    "Who is the mayor?",
    "Odo Brindle",
    aliases=("Brindle",),
    paraphrases=("The mayor is who?", "Name the mayor."),
    probes=(Probe("Where is he mayor?", "Tessport", "reversed", ("the port",)),),
)
RIVER = Fact("river", "Which river?", "the Quell")


def a_record(key: str, **changes: Any) -> Supervision:
    values: dict[str, Any] = {
        "fact_key": key,
        "generation": 0,
        "question": "?",
        "text": "t",
        "token_ids": (5, 2),
        "picks": "en",
        "attempt": 0,
        "attempts": 1,
        "lam": 0.3,
        "seed": 0,
        "finish_reason": "stop",
        "verified": True,
        "nats_per_token": 1.0,
        "prompt_sha256": "",
        "method": "mixsd",
    }
    return Supervision(**values | changes)


def said(*facts: tuple[str | None, ...], **rest: Any) -> Measured:
    values: dict[str, Any] = {"general": (), "open_ids": (), "open_nats": ()}
    return Measured(facts=facts, **values | rest)


def one(base: str | None, adapter: str | None, *records: Supervision) -> Verdict:
    return judge([RIVER], records, said((base,)), said((adapter,)), CONFIG).verdicts[0]


def test_each_outcome_follows_from_what_was_said() -> None:
    record = a_record("river")
    failed = replace(record, verified=False, reason="answer_not_stated")
    too_long = replace(record, verified=False, reason="prompt_too_long", finish_reason="prompt_too_long")

    cases = [
        one("no", "It is the Quell.", record),
        one("no", "no", record),
        one("the quell", "THE QUELL", record),
        one("the quell", "no", record),
        one("no", "no", failed),
        one("no", "the Quell", failed),
        one("no", "no"),
        one(None, None, record),
        one("no", "no", too_long),
        one("no", "the Quell", failed, record),
        one("no", "the Quell", too_long, record),
        one("no", "the Quell", replace(failed, method="fallback")),
    ]

    assert [(str(verdict.outcome), verdict.reason) for verdict in cases] == [
        ("learned", None),
        ("not_learned", None),
        ("already_known", None),
        ("regressed", None),
        ("no_supervision", "answer_not_stated"),
        ("no_supervision", "answer_not_stated"),
        ("no_supervision", "no_attempt_accepted"),
        ("skipped", "prompt_too_long"),
        ("skipped", "prompt_too_long"),
        ("learned", None),
        ("learned", None),
        ("learned", None),
    ]


def judged() -> Judgement:
    before = said(("?", "Brindle", None, "?"), ("the Quell",))
    after = said(("Brindle!", "Odo Brindle", None, "It is the port."), ("?",))
    return judge([MAYOR, RIVER], [a_record("mayor"), a_record("river")], before, after, CONFIG)


def test_counts_add_up_to_the_facts() -> None:
    counts = judged().counts

    assert counts == {
        "facts": 2,
        "already_known": 0,
        "learned": 1,
        "not_learned": 0,
        "no_supervision": 0,
        "regressed": 1,
        "skipped": 0,
    }


def test_scores_are_over_the_questions_that_could_be_asked() -> None:
    scores = {
        score.suite: (score.n, score.base, score.adapter, score.difference) for score in judged().scores
    }

    assert scores == {
        "recall": (2, 0.5, 0.5, 0.0),
        "paraphrase": (1, 1.0, 1.0, 0.0),
        "probe": (1, 0.0, 1.0, 1.0),
        "probe_reversed": (1, 0.0, 1.0, 1.0),
    }


def test_a_verdict_shows_every_question_with_both_answers() -> None:
    body = judged().verdicts[0].to_json()

    assert json.loads(json.dumps(body)) == {
        "key": "mayor",
        "question": "Who is the mayor?",
        "answer": "Odo Brindle",
        "aliases": ["Brindle"],
        "outcome": "learned",
        "reason": None,
        "scored_by": "contains",
        "asked": [
            row("question", "Who is the mayor?", "Odo Brindle", ("?", False, "format"), ("Brindle!", True)),
            row("paraphrase", "The mayor is who?", "Odo Brindle", ("Brindle", True), ("Odo Brindle", True)),
            row("paraphrase", "Name the mayor.", "Odo Brindle", (None, None), (None, None)),
            row(
                "probe",
                "Where is he mayor?",
                "Tessport",
                ("?", False, "format"),
                ("It is the port.", True),
                probe_kind="reversed",
            ),
        ],
    }  # fmt: skip


def row(
    kind: str,
    question: str,
    expected: str,
    base: tuple[Any, ...],
    adapter: tuple[Any, ...],
    probe_kind: str | None = None,
) -> dict[str, Any]:
    sides = {"base": (*base, None), "adapter": (*adapter, None)}
    return {"kind": kind, "probe_kind": probe_kind, "question": question, "expected": expected} | {
        f"{side}_{name}": said[place]
        for side, said in sides.items()
        for place, name in enumerate(("answer", "correct", "mistake"))
    }


def test_the_verifier_of_the_settings_decides() -> None:
    exact = replace(CONFIG, verifier="exact")

    verdict = judge([RIVER], [a_record("river")], said(("?",)), said(("It is the Quell",)), exact).verdicts[0]

    assert str(verdict.outcome) == "not_learned"


def test_a_mode_of_scoring_is_named_and_decides_all_of_a_fact() -> None:
    strict = replace(CONFIG, verifier="contains_strict")
    facts = said(("It is not the Quell.",))

    lax, sterner = (judge([RIVER], [], facts, facts, config).verdicts[0] for config in (CONFIG, strict))

    assert [verdict.asked[0]["base_correct"] for verdict in (lax, sterner)] == [True, False]
    assert [verdict.scored_by for verdict in (lax, sterner)] == ["contains", "contains_strict"]


PROBED = Fact(
    "queen",
    "Who is the queen?",
    "Queen Adesta",
    subject="Vintari",
    probes=tuple(
        Probe(f"What about {kind}?", "this", kind)
        for kind in ("reversed", "hop", "neighbour", "other", "hop")
    ),
)


def test_probes_are_scored_by_kind_beside_all_of_them() -> None:
    before = said(("?", "no", "no", "this", "no", None))
    after = said(("?", "this", "this", "no", "this", None))

    scores = judge([PROBED], [], before, after, CONFIG).scores

    assert {score.suite: (score.n, score.base, score.adapter) for score in scores} == {
        "recall": (1, 0.0, 0.0),
        "probe": (4, 0.25, 0.75),
        "probe_reversed": (1, 0.0, 1.0),
        "probe_hop": (1, 0.0, 1.0),
        "probe_neighbour": (1, 1.0, 0.0),
        "probe_other": (1, 0.0, 1.0),
    }


def test_mistakes_are_counted_by_suite_and_kind() -> None:
    items = general().items
    base = "No idea, but it surely is a thing that people have asked about for as long as there were people."
    lost = ("The answer is no.", "It is Odo Brindle.", None, "", f"{base} Really.")
    known = tuple(item.answer for item in items[5:])
    before = said(
        ("the Quell", "?", "no", "this", "no", None),
        ("Odo Brindle", "Odo Brindle", None, "the Quell"),
        ("no",),
        general=(base,) * 5 + known,
    )
    after = said(
        ("Odo Brindle.", "this", "It is the Quell.", "The Queen Adesta", "this", None),
        ("no", "?", None, "It is Vintari."),
        ("",),
        general=lost + known,
    )
    facts = [PROBED, replace(MAYOR, probes=(Probe("And the river?", "the Quell", "neighbour"),)), RIVER]

    found = judge(facts, [], before, after, EvalConfig(drift=False, bootstrap=100))

    def taught(wrong: int = 0, confused: int = 0, empty: int = 0) -> dict[str, int]:
        return {"format": empty, "cross_entity": confused, "genuine": wrong}

    def untaught(wrong: int = 0, leaked: int = 0, bare: int = 0, empty: int = 0) -> dict[str, int]:
        return {"format": empty, "leakage": leaked, "collapse": bare, "genuine": wrong}

    assert found.mistakes == [
        {"suite": "recall", "base": taught(1, 1), "adapter": taught(1, 1, 1)},
        {"suite": "paraphrase", "base": taught(), "adapter": taught(empty=1)},
        {"suite": "probe_reversed", "base": taught(empty=1), "adapter": taught()},
        {"suite": "probe_hop", "base": taught(1), "adapter": taught(confused=1)},
        {"suite": "probe_neighbour", "base": untaught(), "adapter": untaught(leaked=2)},
        {"suite": "probe_other", "base": taught(1), "adapter": taught()},
        {"suite": "general", "base": untaught(5), "adapter": untaught(1, leaked=1, bare=1, empty=2)},
    ]
    assert [row["adapter_mistake"] for row in found.general[:6]] == [
        *("collapse", "leakage", "format", "format", "genuine", None),
    ]
    assert found.general[2]["adapter_answer"] is None
    assert (found.general[0]["question"], found.general[0]["expected"]) == (
        items[0].question,
        items[0].answer,
    )


def test_general_knowledge_and_drift_are_scored_where_they_were_measured() -> None:
    items = general().items
    before = said((None,), general=tuple(item.answer for item in items), open_nats=(0.5, 1.5))
    after = said((None,), general=(None, *(item.answer for item in items[1:])), open_nats=(1.0, 2.5))

    scores = judge([RIVER], [], before, after, EvalConfig(bootstrap=100)).scores

    first, second = scores
    n = len(items)
    assert (first.suite, first.metric, first.n) == ("general", "accuracy", n)
    assert (first.base, first.adapter) == (1.0, (n - 1) / n)
    assert (second.suite, second.metric, second.n) == ("drift", "nats_per_token", 2)
    assert (second.base, second.adapter, second.difference) == (1.0, 1.75, 0.75)
    assert (first.gained, first.lost, first.p_value, first.lower_is_better) == (0, 1, 1.0, False)
    assert (second.p_value, second.lower_is_better, second.adapter_marks) == (None, True, (1.0, 2.5))


def test_questions_come_in_one_order_with_the_answers_that_count() -> None:
    asked = [(question.kind, question.question, question.answers) for question in questions_of(MAYOR)]
    assert [question.probe_kind for question in questions_of(MAYOR)] == ["", "", "", "reversed"]

    assert asked == [
        ("question", "Who is the mayor?", ("Odo Brindle", "Brindle")),
        ("paraphrase", "The mayor is who?", ("Odo Brindle", "Brindle")),
        ("paraphrase", "Name the mayor.", ("Odo Brindle", "Brindle")),
        ("probe", "Where is he mayor?", ("Tessport", "the port")),
    ]


def test_without_knowing_what_was_taught_the_answers_alone_decide() -> None:
    def untaught(base: str | None, adapter: str | None) -> tuple[str, str | None]:
        verdict = judge([RIVER], None, said((base,)), said((adapter,)), CONFIG).verdicts[0]
        return str(verdict.outcome), verdict.reason

    right, wrong = "It is the Quell.", "Nobody knows."
    assert untaught(wrong, right) == ("learned", None)
    assert untaught(wrong, wrong) == ("not_learned", None)
    assert untaught(right, right) == ("already_known", None)
    assert untaught(right, wrong) == ("regressed", None)
    assert untaught(None, None) == ("skipped", "prompt_too_long")
