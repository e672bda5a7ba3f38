"""Rewordings in a run: units of their own, made anew after a stop, and no matter to the cache."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd import run
from mixsd.answers import normalise
from mixsd.cache import FILE, SupervisionCache
from mixsd.config import EvalConfig, LoraConfig, MixConfig, Plan, SftConfig, TrainConfig
from mixsd.facts import Fact
from mixsd.generation import sweep
from mixsd.inject import Workspace
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested, silent
from mixsd.supervise import Supervised, supervise
from mixsd.supervision import Supervision
from mixsd.training.batches import examples_of

FACTS = [
    Fact(
        "mayor",
        "Who is the mayor of Tessport?",
        "Odo",
        paraphrases=("Tell me who the mayor of Tessport is.",),
    ),
    Fact("river", "Which river flows through Ebra?", "Quelle", train_paraphrases=("Ebra has which river?",)),
    Fact("german", "Wer ist die Königin?", "Adesta"),
]
SFT = Plan(method=SftConfig(rewordings=2, rewordings_source="templates"))
MIXED = Plan(
    method=MixConfig(
        rewordings_source="both",
        rewordings=2,
        generations=2,
        wording_texts="own",
        max_attempts=2,
        max_new_tokens=6,
        temperature=1.0,
        fallback_to_answer=True,
    ),
    training=TrainConfig(lora=LoraConfig(rank=2, alpha=4), epochs=1),
    evaluation=EvalConfig(max_new_tokens=4, general=False, drift=False, bootstrap=100),
)
PLANS = pytest.mark.parametrize("plan", [SFT, MIXED], ids=["sft", "mixsd"])


def made(
    base: Base,
    plan: Plan,
    done: Sequence[Supervision] = (),
    cache: SupervisionCache | None = None,
    facts: Sequence[Fact] = FACTS,
) -> tuple[list[Supervision], Supervised]:
    """Return all records in order, those that were there included, and how it went."""
    records = list(done)
    ids = {(record.fact_key, record.generation) for record in records}
    how = supervise(base, facts, plan, on_records=records.extend, done=ids, cache=cache)
    return run.in_order(records, facts, plan), how


@PLANS
def test_each_rewording_has_targets_of_its_own(base: Base, plan: Plan) -> None:
    records, how = made(base, plan)

    wordings = {
        key: [r.question for r in records if r.fact_key == key] for key in ("mayor", "river", "german")
    }
    each = plan.generations
    assert [len(found) for found in wordings.values()] == [3 * each, 4 * each, each]
    assert wordings["river"][: 2 * each : each] == [
        "Which river flows through Ebra?",
        "Ebra has which river?",
    ]
    assert [record.generation for record in records if record.fact_key == "river"] == list(range(4 * each))
    assert len({(record.fact_key, record.question) for record in records}) == 8
    assert list(how.warnings()) == [
        "4 of 6 rewordings were found: facts that have fewer are trained on fewer"
    ]
    assert how.to_json()["rewordings"]["by_templates"] == 4


@PLANS
def test_training_asks_the_rewording_and_no_held_out_paraphrase(base: Base, plan: Plan) -> None:
    records, _ = made(base, plan)

    examples = examples_of(base, records, prompt_style="natural")

    asked = [record.question for record in records if record.trainable]
    assert len(asked) == len(examples) == 8 * plan.generations
    assert [example.prompt for example in examples] == [tuple(base.chat.prompt_ids(each)) for each in asked]
    held = {normalise(each) for fact in FACTS for each in fact.paraphrases}
    assert held.isdisjoint(map(normalise, asked))


@PLANS
def test_a_run_that_was_stopped_ends_with_the_same_records(base: Base, plan: Plan) -> None:
    whole, _ = made(base, plan)

    for kept in (whole[:1], whole[2:], whole[1::2], whole):
        again, _ = made(base, plan, done=kept)
        assert [record.to_line() for record in again] == [record.to_line() for record in whole]


@PLANS
def test_a_fact_gets_the_same_wordings_whoever_stands_beside_it(base: Base, plan: Plan) -> None:
    whole, _ = made(base, plan)

    alone, _ = made(base, plan, facts=FACTS[1:2])

    assert alone == [record for record in whole if record.fact_key == "river"]


def test_the_first_wordings_stay_when_more_are_wanted(base: Base) -> None:
    few, _ = made(base, SFT)
    more, _ = made(base, replace(SFT, method=replace(SFT.method, rewordings=4)))

    assert set(few) < set(more)


def test_methods_share_their_rewordings(base: Base) -> None:
    """So that a comparison differs in the method alone."""
    questions = [{(r.fact_key, r.question) for r in made(base, plan)[0]} for plan in (SFT, MIXED)]

    assert questions[0] == questions[1]


def test_the_cache_gives_the_texts_of_rewordings(base: Base, tmp_path: Path) -> None:
    cache = SupervisionCache(tmp_path / FILE)
    whole, first = made(base, MIXED, cache=cache)

    again, second = made(base, MIXED, cache=cache)
    fewer, third = made(base, replace(MIXED, method=replace(MIXED.method, rewordings=1)), cache=cache)

    assert (first.reused, second.reused, third.reused) == (0, len(whole), len(fewer))
    assert again == whole
    assert set(fewer) < set(whole)


def test_rewordings_are_part_of_what_decides_the_supervision(base: Base) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"rewordings": 3},
        {"rewordings_source": "model"},
        {"rewordings_check": False},
        {"seed": 1},
    ]

    digests = {
        run.supervision_input(base, FACTS, replace(plan, method=replace(plan.method, **change)))
        for plan in (SFT, MIXED)
        for change in changes
    }

    assert len(digests) == 2 * len(changes)


def test_the_number_of_targets_is_known_as_a_bound(base: Base) -> None:
    for plan in (SFT, MIXED):
        records, _ = made(base, plan)
        assert (
            run.most_targets(FACTS, plan) == len(records) + 2 * plan.generations
        )  # the German fact has none
        assert run.most_targets(FACTS[:2], plan) == 7 * plan.generations


def test_progress_is_told_in_rewordings_first(base: Base) -> None:
    told: list[tuple[str, int, int]] = []

    def note(progress: Progress, /) -> None:
        told.append((progress.unit, progress.done, progress.total))

    supervise(base, FACTS, MIXED, on_records=lambda _: None, on_progress=note)

    units = [unit for unit, _, _ in told]
    assert units == sorted(units)  # "rewordings" before "targets"
    assert told[0] == ("rewordings", 0, 6)
    assert told[-1] == ("targets", 16, 16)


def test_a_sweep_has_rewordings_too(base: Base) -> None:
    assert isinstance(MIXED.method, MixConfig)
    found = list(sweep(base, iter(FACTS), MIXED.method, [0.1, 0.9]))

    for lam in (0.1, 0.9):
        assert sum(value == lam for value, _ in found) == 16


def test_a_folder_of_a_run_goes_on_with_its_rewordings(base: Base, tmp_path: Path) -> None:
    def stop(progress: Progress, /) -> None:
        if progress.unit == "targets" and progress.done >= 3:
            raise StopRequested

    straight = Workspace(tmp_path / "straight", base, FACTS, MIXED, lambda _: silent)
    straight.open()
    straight.generate()
    stopped = Workspace(tmp_path / "stopped", base, FACTS, MIXED, lambda _: stop)
    stopped.open()
    with pytest.raises(StopRequested):
        stopped.generate()

    replace(stopped, on_phase=lambda _: silent).generate()

    name = "supervision.jsonl"
    assert (stopped.out / name).read_bytes() == (straight.out / name).read_bytes()
    assert '"rewordings"' in (straight.out / "generation.json").read_text()
