"""The choice of cases of MQuAKE, on seven small ones, and what becomes of them."""

import json
import random
from pathlib import Path

import pytest

from mixsd.corpora.entries import entries_in
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.mquake import case_of, mquake, select
from mixsd.corpora.public import public

FILE = Path(__file__).parent / "data" / "mquake.jsonl"
CASES = [case_of(entry) for entry in entries_in(FILE)]
# 1: Ann-Dorn-Jan. 2: Bob-Dorn-Jan-Toll. 3: Cid-Dorn-Jan. 4: Ebra-Jan-Toll. 5: Dorn-Kai, against 1 to 3.
# 6 has one step and 7 has five. Relations: P1 for 1 to 3, P2 for 4 and 5, P3 for 6 and 7.


def chosen(room: int, seed: int = 0, cases: slice = slice(5)) -> list[str]:
    picked = select(CASES[cases], room, random.Random(seed))  # noqa: S311
    return [case.id.removeprefix("mquake-") for case in picked]


def test_relations_take_turns_and_the_cheapest_case_goes_first() -> None:
    orders = {tuple(chosen(100, seed)) for seed in range(20)}

    # P1 first: 1 (2 new), then 4 of P2 (2 new, as 5 contradicts 1), then 3 and 2 (1 new each) by order.
    # P2 first: 4, then 1 of P1, and so on; 2 and 3 add one each.
    assert orders == {("1", "4", "2", "3"), ("4", "1", "2", "3")}


def test_the_room_is_never_exceeded() -> None:
    for room in range(1, 8):
        picked = select(CASES[:5], room, random.Random(0))  # noqa: S311
        assert len({item.fact.question for case in picked for item in case.items}) <= room

    assert chosen(1) == []
    assert len(chosen(2)) == 1


def test_facts_that_contradict_are_never_taught_together() -> None:
    for seed in range(20):
        corpus = public("mquake", str(FILE), seed=seed)
        asked = [fact.question for fact in corpus.facts]
        assert len(asked) == len(set(asked))
        assert {fact.answer for fact in corpus.facts if fact.question == "Who rules Dorn?"} == {"Jan"}


def test_the_corpus_has_facts_edits_and_questions_of_two_to_four_steps() -> None:
    corpus = public("mquake", str(FILE))
    by_question = {fact.question: fact for fact in corpus.facts}
    ann = by_question["Where lives Ann?"]

    assert len(corpus.facts) == 6
    assert (ann.answer, ann.aliases, ann.context) == ("Dorn", ("DORN",), "The home of Ann is Dorn.")
    assert (ann.subject, ann.relation) == ("Ann", "P1")
    edits = {row["question"]: row["target_true"] for row in corpus.splits["edits"]}
    assert edits["Who rules Dorn?"] == "Meg"
    assert "Where lives Jan?" not in edits
    rows = corpus.splits["compositional"]
    assert {row["hops"] for row in rows} == {2, 3}
    assert len(rows) == 3 * 4
    assert all(row["steps"][-1].endswith(f"{row['answer']}.") for row in rows)
    assert rows[0]["answer_before"] == "nothing"
    hops = [probe for fact in corpus.facts for probe in fact.probes]
    assert {probe.kind for probe in hops} == {"hop"}
    assert len(hops) == 4
    assert corpus.notes == [
        "too few other cases for 50 statements that nothing is taught of",
        "2 cases have not 2 to 4 different steps, and were left out",
    ]


def test_a_context_is_of_cases_that_share_no_fact_with_those_taught(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps(long_case(n)) + "\n" for n in range(100)))

    corpus = public("mquake", str(path), limit=40)

    taught = {fact.context for fact in corpus.facts}
    assert len(corpus.facts) == 40
    assert len(corpus.splits["retrieval"]) == 40
    for row in corpus.splits["retrieval"]:
        told = {line.removeprefix("- ") for line in row["context"].split("\n")[1:]}
        assert len(told) == 50
        assert row["statement"] in told
        assert not told & taught


def long_case(n: int) -> dict[str, object]:
    hops = [
        {"question": f"Where lives s{n}?", "cloze": f"The home of s{n} is", "answer": f"t{n}"},
        {"question": f"Who rules t{n}?", "cloze": f"The ruler of t{n} is", "answer": f"u{n}"},
    ]
    edit = {"subject": f"s{n}", "relation_id": f"P{n % 7}", "prompt": "The home of {} is"}
    edit |= {"question": f"Where lives s{n}?"}
    edits = [edit | {"target_new": {"str": f"t{n}"}, "target_true": {"str": "v"}}]
    case = {
        "case_id": n,
        "requested_rewrite": edits,
        "new_single_hops": hops,
        "questions": [f"Question {n}?"],
    }
    return case | {"answer": "w", "new_answer": f"u{n}"}


def test_a_list_of_edits_is_taken_as_it_is() -> None:
    corpus = public("mquake", str(FILE.with_name("mquake_edits.jsonl")))

    assert [(f.question, f.answer, f.context) for f in corpus.facts] == [
        ("Where lives Ann?", "Dorn", "The home of Ann is Dorn.")
    ]
    assert [row["target_true"] for row in corpus.splits["edits"]] == ["Ebra"]
    assert len(corpus.notes) == 1


def test_room_for_no_case_is_said() -> None:
    with pytest.raises(CorpusError, match="no case fits into 1 facts"):
        mquake(entries_in(FILE), limit=1)
