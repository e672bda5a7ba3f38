"""From answers to the ledger of facts and scores."""

import json
from dataclasses import replace
from typing import Any

from mixsd.config import EvalConfig
from mixsd.evaluation.judge import Judgement, Verdict, judge
from mixsd.evaluation.measure import Measured, questions_of
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
        "asked": [
            row("question", "Who is the mayor?", "Odo Brindle", ("?", False), ("Brindle!", True)),
            row("paraphrase", "The mayor is who?", "Odo Brindle", ("Brindle", True), ("Odo Brindle", True)),
            row("paraphrase", "Name the mayor.", "Odo Brindle", (None, None), (None, None)),
            row("probe", "Where is he mayor?", "Tessport", ("?", False), ("It is the port.", True)),
        ],
    }  # fmt: skip


def row(
    kind: str,
    question: str,
    expected: str,
    base: tuple[str | None, bool | None],
    adapter: tuple[str | None, bool | None],
) -> dict[str, Any]:
    return {
        "kind": kind,
        "question": question,
        "expected": expected,
        "base_answer": base[0],
        "base_correct": base[1],
        "adapter_answer": adapter[0],
        "adapter_correct": adapter[1],
    }


def test_the_verifier_of_the_settings_decides() -> None:
    exact = replace(CONFIG, verifier="exact")

    verdict = judge([RIVER], [a_record("river")], said(("?",)), said(("It is the Quell",)), exact).verdicts[0]

    assert str(verdict.outcome) == "not_learned"


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

    assert asked == [
        ("question", "Who is the mayor?", ("Odo Brindle", "Brindle")),
        ("paraphrase", "The mayor is who?", ("Odo Brindle", "Brindle")),
        ("paraphrase", "Name the mayor.", ("Odo Brindle", "Brindle")),
        ("probe", "Where is he mayor?", ("Tessport", "the port")),
    ]
