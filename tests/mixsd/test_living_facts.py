"""Facts that change: what is told apart, where training starts, and what is told of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd import run
from mixsd.evaluation.living import tell
from mixsd.evaluation.measure import Measured
from mixsd.facts import Fact, Probe
from mixsd.known import parted
from mixsd.living import OLD_WORDINGS, Change, Living, Start, compare, start_of, wordings
from mixsd.models.load import Base
from mixsd.supervision import RETIRED, Supervision
from mixsd.teaching import Lesson, asked_of, share_right, source_of
from tests.mixsd.living import BELLS, MAYOR, PLAN, QUEEN, RIVER, V1, V2


def test_facts_are_told_apart_by_key_and_by_what_is_taught() -> None:
    found = compare(V1, [*V2, Fact("extra", "What else?", "x")])

    assert found.kinds == {
        "mayor": Change.CHANGED,
        "queen": Change.KEPT,
        "bells": Change.ADDED,
        "extra": Change.ADDED,
    }
    assert found.retired == (RIVER,)
    assert found.before == {"mayor": MAYOR}
    assert found.counts == {"added": 2, "changed": 1, "kept": 1, "retired": 1}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"answer": "Ada"}, "changed"),
        ({"question": "Who rules?"}, "changed"),
        ({"aliases": ("Odo B.",)}, "changed"),
        ({"context": "Odo is the mayor."}, "changed"),
        ({"train_paraphrases": ("The mayor is who?",)}, "changed"),
        ({"tags": ("town",)}, "kept"),
        ({"source": "register"}, "kept"),
        ({"paraphrases": ("The mayor is who?",)}, "kept"),
        ({"probes": (Probe("Whose town is it?", "Odo"),)}, "kept"),
    ],
)
def test_what_is_not_taught_changes_no_fact(change: dict[str, Any], kind: str) -> None:
    assert compare([MAYOR], [replace(MAYOR, **change)]).kinds == {"mayor": kind}


def test_an_answer_is_taken_away_in_all_wordings_that_were_taught_but_none_that_is_asked() -> None:
    river = replace(RIVER, train_paraphrases=("Name the river.",))
    texts = [
        a_text("river", number, question) for number, question in enumerate(("Which river is it?", "X?"))
    ]

    alone = wordings(compare([river], [MAYOR]), texts)
    asked = wordings(compare([river], [replace(MAYOR, question="name the  RIVER")]), texts)

    assert alone == [
        ("river", 0, "Which river is it?"),
        ("river", 1, "Name the river."),
        ("river", 2, "X?"),
    ]
    assert [question for _, _, question in asked] == ["Which river is it?", "X?"]


@pytest.mark.parametrize("where", ["question", "paraphrases", "train_paraphrases", "probes"])
def test_no_answer_is_taken_away_from_a_question_that_a_new_fact_asks(where: str) -> None:
    value: Any = {"question": "which river is it", "probes": (Probe("Which river is it?", "Una"),)}.get(
        where, ("Which river is it?",)
    )

    changes = compare([RIVER], [replace(BELLS, **{where: value})])

    assert wordings(changes, []) == []
    assert changes.is_asked(RIVER.question)


def test_the_old_question_of_a_fact_that_says_something_else_now_is_led_back() -> None:
    moved = replace(MAYOR, question="Who governs?", answer="Ada")
    reworded = replace(MAYOR, question="Who governs?")

    assert wordings(compare([MAYOR], [moved]), []) == [("mayor", OLD_WORDINGS, "Who is the mayor?")]
    assert wordings(compare([MAYOR], [reworded]), []) == []


def a_text(key: str, generation: int, question: str, **rest: Any) -> Supervision:
    values = {
        "fact_key": key,
        "generation": generation,
        "question": question,
        "text": "Quell",
        "token_ids": (5, 6),
        "picks": "",
        "attempt": 0,
        "attempts": 1,
        "lam": 0.0,
        "seed": 0,
        "finish_reason": "stop",
        "verified": True,
        "nats_per_token": None,
        "prompt_sha256": "",
        "method": "sft",
    }
    return Supervision(**{**values, **rest})


def test_what_the_parent_knew_has_to_stay_and_what_is_retired_has_to_go(tmp_path: Path) -> None:
    other = replace(QUEEN, key="other")
    living = Living(tmp_path, "0" * 64, "1" * 64, compare([*V1, other, BELLS], [MAYOR, QUEEN, other]))
    parent = [["Odo"], ["Adesta it is"], ["nobody"], ["Quell"], ["41"]]
    base = [["?"], ["?"], ["?"], ["?"], ["41 as ever"]]

    start = start_of(living, [MAYOR, QUEEN, other], base, parent, PLAN)

    assert start.kept == {"mayor", "queen", "other"}
    assert start.known == {"mayor", "queen"}
    assert start.gone == (RIVER,), "what the base model says itself need not go"
    assert Start.from_json(json.loads(json.dumps(start.to_json()))) == start


@pytest.mark.parametrize("ratio", [0.0, 0.5, 2.0])
def test_kept_facts_are_replayed_beside_the_others_in_the_ratio_that_is_asked_for(
    base: Base, ratio: float
) -> None:
    plan = replace(PLAN, training=replace(PLAN.training, kept_ratio=ratio, batch_size=4))
    records = [a_text(key, 0, f"Is it {key}?") for key in ("a", "b", "c", "d", "k", "l", "m")]
    start = Start(Path(), "", frozenset("klm"))
    lesson = Lesson.of(base, records, plan, start)
    source = source_of(base, [], records, lesson, plan, lambda: None)
    steps = 6

    assert (len(lesson.examples), len(lesson.kept)) == (4, 3)
    assert run.steps_of(records, plan, start) == 30
    if not ratio:
        assert source is None
        return
    assert source is not None
    made = [source(None, step, range(4)) for step in range(steps)]  # type: ignore[arg-type]
    assert [list(step[:4]) for step in made] == [lesson.examples] * steps
    replayed = [example for step in made for example in step[4:]]
    assert len(replayed) == ratio * 4 * steps
    assert set(map(repr, replayed)) == set(map(repr, lesson.kept))


def test_it_has_learned_when_new_ones_are_known_kept_ones_too_and_retired_ones_not() -> None:
    records = [a_text(key, 0, "?") for key in ("mayor", "queen", "bells")]
    records.append(a_text("river", 0, RIVER.question, method=RETIRED))
    knows = {"mayor", "bells"}

    def share(start: Start | None) -> float:
        asked, gone = asked_of([MAYOR, QUEEN, BELLS], records, start)
        return share_right(asked, gone, 0, lambda facts: sum(fact.key in knows for fact in facts))

    kept = frozenset({"queen"})
    assert share(None) == pytest.approx(2 / 3)
    assert share(Start(Path(), "", kept)) == 1, "one that the parent did not know decides nothing"
    assert share(Start(Path(), "", kept, known=kept)) == pytest.approx(2 / 3)
    assert share(Start(Path(), "", kept, gone=(RIVER,))) == 1
    knows.add("river")
    assert share(Start(Path(), "", kept, gone=(RIVER,))) == pytest.approx(2 / 3)


def test_of_many_facts_the_rest_is_asked_once_the_sample_is_right() -> None:
    many = [replace(MAYOR, key=str(number)) for number in range(300)]
    asked: list[int] = []

    def right(facts: Sequence[Fact]) -> int:
        asked.append(len(facts))
        return len(facts)

    assert share_right(many, [], 0, right) == 1
    assert asked == [256, 44]
    assert share_right(many, [RIVER], 0, right) == pytest.approx(256 / 257)
    assert share_right([], [], 0, lambda _: 0) == 1


def test_known_facts_that_changed_are_taught_all_the_same() -> None:
    plan = replace(PLAN, training=replace(PLAN.training, known_facts="skip"))
    said = Measured((("Odo",), ("Quell",), ("beyond",)), (), (), ())

    found = parted([MAYOR, RIVER], said, plan, always={"mayor"})
    nobody = parted([MAYOR, RIVER], said, plan, needed=False)

    assert (found.taught, found.left_out) == ([MAYOR], [RIVER])
    assert nobody.taught == []


def test_an_old_answer_within_the_new_one_is_neither_there_nor_gone(tmp_path: Path) -> None:
    now = [replace(MAYOR, answer="Odo Brindle"), replace(QUEEN, answer="Mira")]
    living = Living(tmp_path, "", "", compare([MAYOR, QUEEN, RIVER], [*now, replace(RIVER, key="again")]))
    facts = [*now, replace(RIVER, key="again")]
    before = [["Odo"], ["Adesta"], ["Quell"], ["Quell"]]
    after = [["Odo Brindle"], ["Adesta"], ["Quell"], ["Quell"]]

    told = tell(living, facts, [["?"]] * 4, before, after, PLAN.evaluation)

    assert told.rows["mayor"]["previous_gone"] is None
    assert told.rows["queen"]["previous_gone"] is False
    assert told.summary["changed"] == {"facts": 2, "learned": 1, "previous_gone": 0, "previous_there": 1}
    assert told.summary["retired"]["still_known"] == 0, "a new fact asks that: it is to be known"
    assert told.summary["retired"]["trained_back"] == 0


def test_what_the_parent_knew_and_the_adapter_does_not_has_regressed(tmp_path: Path) -> None:
    living = Living(tmp_path, "", "", compare([*V1, BELLS], [MAYOR, QUEEN, BELLS]))
    said = [["Odo"], ["Adesta"], ["?"], ["Quell"]]
    after = [["Odo"], ["?"], ["41"], ["Quell"]]

    told = tell(living, [MAYOR, QUEEN, BELLS], [["?"]] * 4, said, after, PLAN.evaluation)

    assert told.summary["kept"] == {"facts": 3, "known_before": 2, "known": 2, "regressed": 1}
    assert told.summary["regressed_keys"] == ["queen"]
    assert told.summary["retired"]["still_known"] == 1
    assert told.retired[0]["adapter_correct"] is True
