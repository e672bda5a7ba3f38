"""One text for all wordings of a question: whose it is, what it costs there, and runs that go on."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from mixsd.cache import SupervisionCache
from mixsd.config import MixConfig, Plan
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.records import nats_per_token
from mixsd.supervise import supervise
from mixsd.supervision import Supervision

CONFIG = MixConfig(
    rewordings=0,
    max_attempts=2,
    max_new_tokens=8,
    fallback_to_answer=True,
    temperature=1.0,
    generations=2,
    lam=0.5,
)
FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo", train_paraphrases=("The mayor is who?", "Name the mayor.")),
    Fact("river", "Which river is it?", "Quell"),
    Fact("long", "Who is long?", "Odo", train_paraphrases=("\u0001" * 600,)),
]
IDS = [("mayor", n) for n in range(6)] + [("river", 0), ("river", 1)] + [("long", n) for n in range(4)]


def records_of(
    base: Base,
    facts: Sequence[Fact] = FACTS,
    config: MixConfig = CONFIG,
    done: Collection[tuple[str, int]] = (),
    cache: SupervisionCache | None = None,
) -> dict[tuple[str, int], Supervision]:
    made: list[Supervision] = []
    plan = Plan(method=config)
    supervise(base, facts, plan, done=frozenset(done), on_records=made.extend, cache=cache)
    records = {(record.fact_key, record.generation): record for record in made}
    assert len(records) == len(made)  # none is made twice
    return records


def test_other_wordings_are_trained_on_the_texts_of_the_question(base: Base) -> None:
    records = records_of(base)

    assert sorted(records) == sorted(IDS)
    for wording, question in enumerate(("Who is the mayor?", "The mayor is who?", "Name the mayor.")):
        for generation in range(2):
            first, record = records["mayor", generation], records["mayor", 2 * wording + generation]
            assert record.question == question
            assert (record.text, record.token_ids, record.lam) == (first.text, first.token_ids, first.lam)
            prompt = base.chat.prompt_ids(question)
            assert record.nats_per_token == nats_per_token(base, prompt, record.token_ids)
            assert (record.attempts > 0) == (wording == 0)
    assert len({records["mayor", generation].prompt_sha256 for generation in (0, 2, 4)}) == 3


def test_the_texts_of_questions_are_those_that_they_have_without_other_wordings(base: Base) -> None:
    alone = records_of(base, [replace(fact, train_paraphrases=()) for fact in FACTS])

    records = records_of(base)

    assert {each: records[each] for each in alone} == alone


def test_own_texts_are_made_for_each_wording(base: Base) -> None:
    own = records_of(base, FACTS[:1], replace(CONFIG, wording_texts="own"))

    assert all(record.attempts > 0 for record in own.values())
    assert own["mayor", 0] == records_of(base)["mayor", 0]
    asked = replace(FACTS[0], question="Name the mayor.", train_paraphrases=())
    alone = records_of(base, [asked], replace(CONFIG, generations=6, wording_texts="own"))
    assert own["mayor", 4].token_ids == alone["mayor", 4].token_ids


def test_a_wording_that_does_not_fit_with_the_text_has_none(base: Base) -> None:
    records = records_of(base)

    assert records["long", 0].trainable
    for generation in (2, 3):
        record = records["long", generation]
        assert (record.reason, record.token_ids, record.trainable) == ("prompt_too_long", (), False)


def test_a_text_that_is_none_is_none_for_any_wording(base: Base) -> None:
    never = replace(CONFIG, verifier="regex", pattern="(?!){answer}", fallback_to_answer=False)

    records = records_of(base, FACTS[:1], never)

    assert {record.reason for record in records.values()} <= {"cap", "answer_not_stated"}
    assert {(record.trainable, record.nats_per_token) for each, record in records.items() if each[1] > 1} == {
        (False, None)
    }


@pytest.mark.parametrize("had", [1, 3, 5, 8])
def test_a_run_that_was_stopped_makes_what_is_missing_and_nothing_else(base: Base, had: int) -> None:
    whole = records_of(base)

    rest = records_of(base, done=IDS[:had])

    assert sorted(rest) == sorted(IDS[had:])
    assert rest == {each: whole[each] for each in rest}
    assert records_of(base, done=IDS) == {}


@pytest.mark.parametrize("had", [0, 3])
def test_progress_counts_the_records_of_all_wordings(base: Base, had: int) -> None:
    told: list[tuple[int, int]] = []

    made: list[Supervision] = []
    supervise(
        base,
        FACTS,
        Plan(method=CONFIG),
        done=frozenset(IDS[:had]),
        on_records=made.extend,
        on_progress=lambda progress: told.append((progress.done, progress.total)),
    )

    assert told[0] == (had, len(IDS))
    assert told[-1] == (len(IDS), len(IDS))
    assert told == sorted(told)


def test_the_cache_gives_the_same_records(base: Base, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = records_of(base)

    with SupervisionCache(tmp_path_factory.mktemp("cache") / "supervision.sqlite") as cache:
        assert records_of(base, cache=cache) == whole
        assert records_of(base, cache=cache) == whole
