"""Which attempt is kept does not depend on the order in which attempts end."""

import random
from dataclasses import dataclass, replace

import pytest

from mixsd.config import MixConfig
from mixsd.decoding.text import Text
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.planning import Job, Measures, Planner
from mixsd.units import units_of

ATTEMPTS = 6
CONFIG = MixConfig(max_attempts=ATTEMPTS, max_new_tokens=4, verifier="regex", pattern="|{answer}")
FACTS = [Fact(f"fact-{n}", f"Which number is {n}?", f"the {n}th") for n in range(4)]


@dataclass(slots=True)
class Outcome:
    """What a run came to for one fact."""

    attempt: int
    kept: bool
    attempts: int
    nats: float


def play(base: Base, outcomes: dict[str, list[bool]], slots: int, seed: int) -> dict[str, Outcome]:
    """Let so many texts at a time be under way, and end them in random order.

    Args:
        outcomes: Whether each attempt at a fact ends by itself, which is all it takes here.
    """
    dice = random.Random(seed)  # noqa: S311  an order, not a secret
    planner = Planner(base, [CONFIG], units_of(iter(FACTS), 1), base.max_tokens)
    under_way: list[Text] = []
    found: dict[str, Outcome] = {}
    while True:
        while len(under_way) < slots and (text := planner.next_text()) is not None:
            under_way.append(text)
        if not under_way:
            return found
        text = under_way.pop(dice.randrange(len(under_way)))
        text.tokens = [5]
        text.finish = "stop" if outcomes[text.draw.fact_key][text.draw.attempt] else "cap"
        job = planner.ended(text, lambda text: Measures(text.draw.attempt))
        rivals = planner.superseded()
        under_way = [each for each in under_way if each not in rivals]
        if job is not None:
            assert job.unit.fact.key not in found
            found[job.unit.fact.key] = outcome_of(job)


def outcome_of(job: Job) -> Outcome:
    assert job.measures is not None
    failed = [attempt for attempt in job.failed if job.kept is None or attempt < job.kept.draw.attempt]
    return Outcome(
        job.last.draw.attempt,
        job.kept is not None,
        len(failed) + (job.kept is not None),
        job.measures.nats_per_token,
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_successful_attempt_with_the_smallest_number_is_kept(base: Base, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  outcomes, not secrets
    chance = dice.choice([0.0, 0.1, 0.3, 0.8])
    outcomes = {fact.key: [dice.random() < chance for _ in range(ATTEMPTS)] for fact in FACTS}

    found = play(base, outcomes, slots=dice.choice([1, 2, 5, 24]), seed=seed)

    assert found.keys() == outcomes.keys()
    for key, ends in outcomes.items():
        place = ends.index(True) if True in ends else ATTEMPTS - 1
        assert found[key] == Outcome(place, True in ends, place + 1, place)


def test_every_question_is_begun_before_a_second_attempt_at_any(base: Base) -> None:
    planner = Planner(base, [CONFIG], units_of(iter(FACTS), 1), base.max_tokens)

    begun = [text for _ in range(4 * ATTEMPTS) if (text := planner.next_text())]

    assert [text.draw.attempt for text in begun[:4]] == [0, 0, 0, 0]
    assert len({(text.draw.fact_key, text.draw.attempt) for text in begun}) == 4 * ATTEMPTS
    assert sorted(text.draw.attempt for text in begun[4:8]) == [1, 1, 1, 1]
    assert planner.next_text() is None


def test_texts_of_one_question_share_a_memo_and_those_of_others_do_not(base: Base) -> None:
    variants = [CONFIG, replace(CONFIG, lam=0.7)]
    planner = Planner(base, variants, units_of(iter(FACTS[:2]), 2), base.max_tokens)

    begun = [text for _ in range(2 * 2 * 2 * ATTEMPTS) if (text := planner.next_text())]

    memos = {(text.draw.fact_key, id(text.memo)) for text in begun}
    assert len(begun) == 48
    assert len(memos) == 2
