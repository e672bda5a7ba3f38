"""Settings that differ in `lam` are supervised in one run, and each gets what it gets alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixsd.cache import SupervisionCache
from mixsd.config import Plan
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.options import plan_from
from mixsd.progress import Progress
from mixsd.supervise import supervise, supervise_alike
from mixsd.supervision import Supervision
from tests.mixsd.generating import WARM, often_ending

FACTS = [
    Fact(
        f"fact-{n}", f"Which number is {n}?", f"the {n}th", train_paraphrases=(f"Say, which number is {n}?",)
    )
    for n in range(4)
]
TOTAL = 2 * len(FACTS)
VARIANTS = [replace(WARM, rewordings=0, lam=lam) for lam in (0.2, 0.6)]

Ids = set[tuple[str, int]]


@pytest.fixture(scope="module")
def ending(base: Base) -> Base:
    return often_ending(base)


def alone(base: Base, plan: Plan) -> dict[tuple[str, int], Supervision]:
    made: list[Supervision] = []
    supervise(base, FACTS, plan, on_records=made.extend)
    return {(record.fact_key, record.generation): record for record in made}


@pytest.mark.parametrize("texts", ["own", "shared"])
def test_each_gets_what_it_lacks_and_what_it_gets_alone(ending: Base, texts: str, tmp_path: Path) -> None:
    variants = [replace(variant, wording_texts=texts) for variant in VARIANTS]
    expected = [alone(ending, Plan(method=variant)) for variant in variants]
    done: list[Ids] = [{("fact-1", 0), ("fact-1", 1), ("fact-2", 0)}, set()]
    told: list[tuple[int, int]] = []

    def made(cache: SupervisionCache) -> tuple[list[dict[tuple[str, int], Supervision]], int]:
        found: list[dict[tuple[str, int], Supervision]] = [{}, {}]

        def add(number: int, records: Any) -> None:
            found[number].update({(each.fact_key, each.generation): each for each in records})

        def tell(progress: Progress, /) -> None:
            told.append((progress.done, progress.total))

        report = supervise_alike(
            ending, FACTS, variants, on_records=add, done=done, cache=cache, on_progress=tell
        )
        return found, report.reused

    with SupervisionCache(tmp_path / "texts.sqlite") as cache:
        first, reused = made(cache)
        again, reused_again = made(cache)

    wanted = [
        {each: record for each, record in every.items() if each not in there}
        for every, there in zip(expected, done, strict=True)
    ]
    assert first == again == wanted
    assert (reused, reused_again > 0) == (0, True)
    half = len(told) // 2
    assert told[0] == (3, 2 * TOTAL)
    assert told[half - 1][1] == told[-1][1] == 2 * TOTAL
    assert told[-1] == (2 * TOTAL, 2 * TOTAL)


def test_methods_that_are_fine_tuning_beside_something_are_trained_on_the_same_texts(base: Base) -> None:
    made = [
        alone(base, plan_from(method={"type": kind, "target": "natural"})) for kind in ("sft", "replay", "kl")
    ]

    assert made[0] == made[1] == made[2]
