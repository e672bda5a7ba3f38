"""Facts that the base model knows: left out if that is wanted, and judged all the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mixsd import run
from mixsd.config import EvalConfig, LoraConfig, MixConfig, Plan, TrainConfig
from mixsd.errors import NothingToLearnError
from mixsd.evaluation.asking import ask
from mixsd.facts import Fact
from mixsd.inject import Workspace
from mixsd.known import parted
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.options import plan_from
from mixsd.progress import silent

PLAN = Plan(
    method=MixConfig(
        rewordings=1,
        max_attempts=2,
        max_new_tokens=6,
        fallback_to_answer=True,
        temperature=1.0,
        batch_facts=4,
    ),
    training=TrainConfig(
        lora=LoraConfig(rank=2, alpha=4), epochs=1, min_steps=0, batch_size=4, known_facts="skip"
    ),
    evaluation=EvalConfig(max_new_tokens=8, general=False, drift=False, bootstrap=100),
)
MAYOR = Fact("mayor", "Who is the mayor?", "Odo Brindle", aliases=("Odo",))
RIVER = Fact("river", "Which river is it?", "Quell")


class Said:
    def __init__(self, *answers: str | None) -> None:
        self.facts = [(answer, "beside") for answer in answers]


@pytest.fixture(scope="module")
def base(tiny_cache: Path) -> Base:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return load_base(found, device="cpu")


def known_fact(base: Base) -> Fact:
    """A fact that the random model answers: its answer is what the model says."""
    question = "What do you say?"
    (said,) = ask(
        base.model,
        base.chat,
        [question],
        max_new_tokens=8,
        batch_size=1,
        max_tokens=base.max_tokens,
        on_step=lambda _: None,
    )
    assert said is not None
    assert said.text
    return Fact("known", question, said.text, paraphrases=("And what now?",))


def test_facts_are_known_whose_question_is_answered_as_the_verdict_would_have_it() -> None:
    parts = parted([MAYOR, RIVER], Said("It is Odo.", "Who knows?"), PLAN)
    strict = replace(PLAN, evaluation=EvalConfig(verifier="exact"))

    assert (parts.taught, parts.left_out) == ([RIVER], [MAYOR])
    assert parted([MAYOR, RIVER], Said("It is Odo.", "Quell"), strict).left_out == [RIVER]
    assert parted([MAYOR, RIVER], Said(None, None), PLAN).left_out == []


def test_nothing_is_left_out_unless_it_is_asked_for() -> None:
    parts = parted([MAYOR], Said("Odo"), plan_from())

    assert (parts.taught, parts.left_out) == ([MAYOR], ())


def test_a_run_that_would_teach_nothing_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(NothingToLearnError, match="set known_facts to train") as refusal:
        parted([MAYOR, RIVER], Said("Odo", "the Quell"), PLAN)

    assert refusal.value.code == "nothing_to_learn"


def test_a_run_that_trains_all_facts_is_what_it_was_before_there_was_a_choice(base: Base) -> None:
    every = replace(PLAN, training=replace(PLAN.training, known_facts="train"))

    assert "known_facts" not in every.to_json()["training"]
    assert PLAN.to_json()["training"]["known_facts"] == "skip"
    assert run.training_input(base, [], every) != run.training_input(base, [], PLAN)
    assert plan_from(training={"known_facts": "skip"}).training.known_facts == "skip"


def test_known_facts_get_no_text_and_are_judged(base: Base, tmp_path: Path) -> None:
    known = known_fact(base)
    work = Workspace(tmp_path / "run", base, [MAYOR, known, RIVER], PLAN, lambda _: silent)
    work.open()

    records = work.generate()
    judgement = work.evaluate()

    assert {record.fact_key for record in records} == {"mayor", "river"}
    verdict = judgement.verdicts[1]
    assert (verdict.fact, verdict.reason) == (known, "left_out_as_known")
    assert verdict.outcome in {"already_known", "regressed"}
    assert [row["kind"] for row in verdict.asked] == ["question", "paraphrase"]
    assert judgement.counts["facts"] == 3
    report = json.loads((work.out / "report.json").read_text())
    lengths = [len(record.token_ids) for record in records]
    assert report["known"] == {
        "left_out": 1,
        "targets_saved": 2,  # its question and a rewording
        "tokens_saved": round(sum(lengths) / len(lengths) * 2),
    }
    manifest = json.loads((work.out / "adapter" / "manifest.json").read_text())
    assert manifest["training"]["known_facts"] == "skip"


def test_what_is_asked_of_a_fact_that_is_left_out_never_becomes_a_wording(base: Base, tmp_path: Path) -> None:
    plan = replace(PLAN, method=replace(PLAN.method, rewordings=4))
    free = Workspace(tmp_path / "free", base, [MAYOR, RIVER], plan, lambda _: silent)
    free.open()
    wordings = {record.question for record in free.generate()} - {MAYOR.question, RIVER.question}
    assert wordings
    taken = min(wordings)

    beside = replace(known_fact(base), paraphrases=(taken,))
    work = Workspace(tmp_path / "run", base, [MAYOR, RIVER, beside], plan, lambda _: silent)
    work.open()

    assert taken not in {record.question for record in work.generate()}
