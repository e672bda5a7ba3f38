"""Supervision: a record depends on its fact and the settings, however it came to be made."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from mixsd import planning
from mixsd.config import MixConfig
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw, is_naive
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.text import Prompts, Sampling
from mixsd.facts import Fact
from mixsd.generation import Generation, plain, sweep
from mixsd.models.load import Base
from mixsd.planning import distinct_attempts
from mixsd.progress import Progress, StopRequested
from mixsd.prompts import STYLES
from mixsd.records import SURE, nats_per_token, prompt_sha256, settled
from mixsd.supervision import Supervision, sha256_of, summary
from mixsd.units import units_of
from mixsd.verifiers import verifier
from tests.mixsd.generating import (
    ANYTHING,
    CAP,
    CONFIG,
    FACTS,
    NEVER,
    VOWEL,
    WARM,
    in_order,
    often_ending,
    records_of,
)

BOTH = pytest.mark.parametrize("config", [CONFIG, WARM], ids=["greedy", "warm"])


@pytest.fixture(scope="module")
def base(base: Base) -> Base:
    return often_ending(base)


@pytest.fixture(scope="module")
def expected(base: Base) -> list[Supervision]:
    return records_of(base, FACTS, CONFIG)


def prompts_of(base: Base, fact: Fact) -> Prompts:
    style = STYLES["natural"]
    return Prompts(
        expert=tuple(base.chat.prompt_ids(style.expert_prompt(fact.question, fact.answer))),
        naive=tuple(base.chat.prompt_ids(style.naive_prompt(fact.question))),
    )


def first_success(base: Base, fact: Fact, config: MixConfig) -> tuple[int, list[int], bool]:
    """Return the attempt to keep, else the last one, its tokens and whether it is good."""
    sampling = Sampling(config.temperature, config.top_k, base.chat.stop_ids)
    accepts = verifier("regex", VOWEL)
    made: list[tuple[int, list[int], bool]] = []
    for attempt in distinct_attempts(config):
        draw, lam = Draw(config.seed, fact.key, 0, attempt), config.lam_of(attempt)
        tokens = decode_alone(base.model, prompts_of(base, fact), draw, sampling, lam=lam, cap=CAP)
        ended = tokens[-1] in base.chat.stop_ids
        made.append((attempt, tokens, ended and accepts(base.chat.decode(tokens), [fact.answer])))
    return next((attempt for attempt in made if attempt[2]), made[-1])


@BOTH
def test_the_first_attempt_that_ends_and_states_the_answer_is_kept(base: Base, config: MixConfig) -> None:
    """Every attempt is made again, alone and without a cache."""
    records = records_of(base, FACTS, config)

    for fact, record in zip(FACTS, records, strict=True):
        attempt, tokens, verified = first_success(base, fact, config)
        lam = config.lam_of(attempt)
        draw = Draw(config.seed, fact.key, 0, attempt)
        picks = "".join("en"[is_naive(draw, place, lam=lam)] for place in range(len(tokens)))
        assert (record.attempt, record.lam, record.verified) == (attempt, lam, verified)
        assert (record.token_ids, record.picks) == (tuple(tokens), picks)
        assert record.attempts == distinct_attempts(config).index(attempt) + 1
        assert record.text == base.chat.decode(tokens)
        assert record.prompt_sha256 == prompt_sha256(prompts_of(base, fact))
    kept = {record.attempt for record in records if record.verified}
    assert len(kept) > 1
    assert not all(record.verified for record in records)


@BOTH
def test_neither_batch_nor_order_changes_a_byte(base: Base, config: MixConfig) -> None:
    expected = sha256_of(records_of(base, FACTS, replace(config, batch_facts=1)))

    for batch in (3, 24):
        assert sha256_of(records_of(base, FACTS, replace(config, batch_facts=batch))) == expected
    assert sha256_of(records_of(base, FACTS[::-1], replace(config, batch_facts=4))) == expected


def test_seed_and_key_make_other_draws(base: Base) -> None:
    config = replace(WARM, pattern=ANYTHING, max_attempts=1)
    renamed = [replace(fact, key=f"other-{fact.key}") for fact in FACTS]
    others = [(FACTS, config), (FACTS, replace(config, seed=1)), (renamed, config)]

    texts = {
        tuple(record.token_ids for record in records_of(base, facts, config)) for facts, config in others
    }

    assert len(texts) == 3


def test_what_exists_is_not_made_again_and_the_rest_is_as_it_would_have_been(base: Base) -> None:
    config = replace(CONFIG, generations=2, batch_facts=3)
    every = records_of(base, FACTS[:4], config)
    ids = [(record.fact_key, record.generation) for record in every]
    dice = random.Random(5)  # noqa: S311  subsets, not secrets

    for size in (1, 4, 7):
        done = frozenset(dice.sample(ids, size))
        made = list(Generation(base, config, done=done).records(FACTS[:4]))
        assert in_order(made) == [r for r in every if (r.fact_key, r.generation) not in done]


def test_where_everything_exists_nothing_is_computed(base: Base) -> None:
    seen: list[Progress] = []
    done = {(fact.key, 0) for fact in FACTS}
    generation = Generation(base, CONFIG, done=done, total=7, on_progress=seen.append)

    made = list(generation.records(FACTS))

    assert (made, generation.counters.forwards) == ([], 0)
    assert seen == [Progress(7, 7, "targets")]


@pytest.mark.parametrize("stop_at", [1, 2, 9, 20])
def test_a_callback_that_raises_stops_and_leaves_whole_records(
    base: Base, expected: list[Supervision], stop_at: int
) -> None:
    config = replace(CONFIG, batch_facts=2)
    made: list[Supervision] = []
    calls: list[Progress] = []

    def stop(progress: Progress) -> None:
        calls.append(progress)
        if len(calls) == stop_at:
            raise StopRequested

    with pytest.raises(StopRequested):
        made.extend(Generation(base, config, total=7, on_progress=stop).records(FACTS))
    before = len(made)
    assert calls[-1].done == before < len(FACTS)
    done = {(record.fact_key, record.generation) for record in made}
    made.extend(Generation(base, config, done=done).records(FACTS))

    assert in_order(made) == expected


def test_progress_counts_finished_targets_up_to_all_of_them(base: Base) -> None:
    seen: list[Progress] = []

    config = replace(CONFIG, batch_facts=2)
    list(Generation(base, config, total=7, on_progress=seen.append).records(FACTS))

    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert (seen[0], seen[-1]) == (Progress(0, 7, "targets"), Progress(7, 7, "targets"))
    assert len(seen) > CAP  # between all forward passes


def test_a_text_that_meets_its_cap_is_never_accepted(base: Base) -> None:
    config = replace(CONFIG, pattern=ANYTHING, max_attempts=1, max_new_tokens=3)

    records = records_of(base, FACTS, config)

    for record in records:
        ended = record.token_ids[-1] in base.chat.stop_ids
        assert (record.verified, record.trainable) == (ended, ended)
        assert record.finish_reason == ("stop" if ended else "cap")
        assert record.reason == (None if ended else "cap")
        assert ended or len(record.token_ids) == 3
    assert {record.verified for record in records} == {True, False}


def test_an_answer_or_alias_that_is_stated_is_enough(base: Base) -> None:
    config = replace(WARM, verifier="contains", pattern="", max_new_tokens=30)
    spoken = records_of(base, FACTS[:1], replace(config, verifier="regex", pattern=VOWEL))[0]
    assert spoken.verified

    plainly = records_of(base, [replace(FACTS[0], aliases=("Ada", spoken.text))], config)[0]
    neither = records_of(base, [replace(FACTS[0], aliases=("Ada",))], config)[0]

    assert (plainly.verified, plainly.token_ids) == (True, spoken.token_ids)
    assert not neither.verified


def test_where_no_attempt_is_accepted_the_last_one_is_recorded_with_a_reason(base: Base) -> None:
    config = replace(WARM, pattern=NEVER, max_attempts=5)

    records = records_of(base, FACTS, config)

    for record in records:
        assert (record.verified, record.trainable) == (False, False)
        assert (record.attempt, record.attempts, record.lam) == (4, 5, 0.0)
        assert record.reason == ("answer_not_stated" if record.finish_reason == "stop" else "cap")
    assert {record.reason for record in records} == {"answer_not_stated", "cap"}


def test_the_plain_answer_takes_its_place_where_that_is_asked_for(base: Base) -> None:
    config = replace(CONFIG, pattern=NEVER, max_attempts=2, fallback_to_answer=True)

    record = records_of(base, FACTS[:1], config)[0]

    assert record.token_ids == tuple(base.chat.target_ids("The answer is the 0th."))
    assert (record.text, record.picks) == ("The answer is the 0th.", "")
    assert (record.method, record.verified, record.trainable) == ("fallback", False, True)
    assert (record.attempts, record.reason) == (2, "no_attempt_accepted")
    naive = prompts_of(base, FACTS[0]).sides[1]
    assert record.nats_per_token == nats_per_token(base, naive, record.token_ids)


def test_an_accepted_text_needs_no_plain_answer(base: Base, expected: list[Supervision]) -> None:
    with_it = records_of(base, FACTS, replace(CONFIG, fallback_to_answer=True))

    assert [r for r in with_it if r.verified] == [r for r in expected if r.verified] != []
    assert {r.method for r in with_it if not r.verified} == {"fallback"}


def test_what_does_not_fit_the_model_is_recorded_and_disturbs_no_other(
    base: Base, expected: list[Supervision]
) -> None:
    long_answer = Fact("long-answer", "Which?", "\u0001" * 600)
    long_question = Fact("long-question", "\u0001" * 600, "Odo")

    records = records_of(base, [long_answer, *FACTS[:2], long_question], CONFIG)

    by_key = {record.fact_key: record for record in records}
    for key in ("long-answer", "long-question"):
        record = by_key[key]
        assert (record.finish_reason, record.reason) == ("prompt_too_long", "prompt_too_long")
        assert (record.token_ids, record.attempts, record.nats_per_token) == ((), 0, None)
        assert not record.trainable
    assert [by_key[fact.key] for fact in FACTS[:2]] == expected[:2]
    assert len(records_of(base, [long_answer], CONFIG)) == 1


def test_each_training_paraphrase_has_targets_of_its_own(base: Base) -> None:
    fact = replace(FACTS[0], train_paraphrases=("Name the number 0.", "Say which one is 0."))
    config = replace(WARM, generations=2)

    records = records_of(base, [fact], config)

    wordings = [fact.question, *fact.train_paraphrases]
    assert [r.question for r in records] == [wording for wording in wordings for _ in range(2)]
    assert [r.generation for r in records] == list(range(6))
    assert [r.prompt_sha256 for r in records[::2]] == [r.prompt_sha256 for r in records[1::2]]
    assert len({r.prompt_sha256 for r in records}) == 3
    assert [unit.id for unit in units_of([fact], 2)] == [(fact.key, n) for n in range(6)]
    alone = records_of(base, [replace(fact, train_paraphrases=())], config)
    assert records[:2] == alone


def test_texts_of_one_fact_are_drawn_apart(base: Base) -> None:
    config = replace(WARM, generations=4, pattern=ANYTHING, max_new_tokens=20)

    records = records_of(base, FACTS[:1], config)

    assert len({record.token_ids for record in records}) == 4
    assert records[0] == records_of(base, FACTS[:1], replace(config, generations=1))[0]


def test_nats_are_the_mean_loss_behind_the_naive_prompt(base: Base, expected: list[Supervision]) -> None:
    for fact, record in zip(FACTS, expected, strict=True):
        prompt = list(prompts_of(base, fact).sides[1])
        with torch.inference_mode():
            logits = base.model(torch.tensor([[*prompt, *record.token_ids]])).logits[0]
        shares = torch.softmax(logits.double(), -1)
        losses = [
            -shares[len(prompt) - 1 + place, token].log().item()
            for place, token in enumerate(record.token_ids)
        ]
        assert record.nats_per_token == pytest.approx(sum(losses) / len(losses), abs=5.1e-4)


@pytest.mark.parametrize(
    ("config", "attempts"),
    [
        (MixConfig(), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (MixConfig(temperature=0.5), list(range(10))),
        (MixConfig(lam=0.0, lam_backoff=(), max_attempts=5), [0]),
        (MixConfig(lam=1.0, lam_backoff=(0.5, 1.0, 0.0), max_attempts=8), [0, 2, 3, 6]),
        (MixConfig(lam=0.5, lam_backoff=(), max_attempts=3), [0, 1, 2]),
        (MixConfig(lam=0.0, lam_backoff=(), max_attempts=3, temperature=1.0), [0, 1, 2]),
    ],
)
def test_attempts_that_cannot_differ_are_made_once(config: MixConfig, attempts: list[int]) -> None:
    assert distinct_attempts(config) == attempts


def test_records_survive_json(expected: list[Supervision]) -> None:
    for record in expected:
        assert Supervision.from_json(record.to_json()) == record


def test_the_summary_is_over_facts_and_over_what_is_trained_on(base: Base) -> None:
    records = records_of(base, FACTS, replace(CONFIG, generations=2))
    kept = [record for record in records if record.verified]
    tokens = sum(len(record.token_ids) for record in kept)

    found = summary(records)

    assert (found["facts"], found["verified"]) == (7, len({record.fact_key for record in kept}))
    assert found["attempts"] == sum(record.attempts for record in records)
    assert found["tokens"] == tokens > 0
    assert found["naive_share"] == sum(record.picks.count("n") for record in kept) / tokens
    total = sum((record.nats_per_token or 0) * len(record.token_ids) for record in kept)
    assert found["nats_per_token"] == pytest.approx(total / tokens)
    assert set(summary([]).values()) == {0, None}


def test_plain_fine_tuning_takes_the_given_answer(base: Base) -> None:
    facts = [replace(FACTS[0], train_paraphrases=("Name 0.",)), Fact("long", "\u0001" * 600, "Odo")]
    seen: list[Progress] = []

    records = list(plain(base, facts, prompt_style="natural", seed=3, on_progress=seen.append))

    first, second, long = records
    assert first.token_ids == second.token_ids == tuple(base.chat.target_ids("The answer is the 0th."))
    assert (first.question, second.question) == (facts[0].question, "Name 0.")
    assert first.nats_per_token != second.nats_per_token
    assert (first.method, first.verified, first.attempts, first.seed) == ("sft", True, 0, 3)
    assert (long.reason, long.token_ids, long.trainable) == ("prompt_too_long", (), False)
    assert [progress.done for progress in seen] == [0, 1, 2, 3]
    done = {(facts[0].key, 0), ("long", 0)}
    assert list(plain(base, facts, prompt_style="natural", seed=3, done=done)) == [second]


def test_facts_may_come_one_by_one_and_are_not_read_ahead(base: Base) -> None:
    read = 0

    def endless() -> Iterator[Fact]:
        nonlocal read
        for read in itertools.count(1):
            yield Fact(f"fact-{read}", f"Which number is {read}?", f"the {read}th")

    generation = Generation(base, replace(CONFIG, batch_facts=4, max_attempts=2))

    records = list(itertools.islice(generation.records(endless()), 20))

    assert len({record.fact_key for record in records}) == 20
    assert read <= 20 + 4 + 2  # those in the slots, and one ahead


@BOTH
def test_values_of_lam_in_one_run_give_what_each_gives_alone(base: Base, config: MixConfig) -> None:
    lams = [0.0, 0.3, 0.7, 1.0]
    made: dict[float, list[Supervision]] = {lam: [] for lam in lams}

    for lam, record in sweep(base, FACTS, config, lams):
        made[lam].append(record)

    for lam in lams:
        assert in_order(made[lam]) == records_of(base, FACTS, replace(config, lam=lam, lam_backoff=()))


@BOTH
def test_values_of_lam_that_were_stopped_apart_make_what_is_missing_and_nothing_else(
    base: Base, config: MixConfig
) -> None:
    variants = [replace(config, lam=lam) for lam in (0.2, 0.6)]
    had = [{("fact-0", 0), ("fact-3", 0)}, {("fact-3", 0)}]
    alone = [records_of(base, FACTS, variant) for variant in variants]

    made: list[list[Supervision]] = [[], []]
    for each in Generation(base, *variants, had=had).made(FACTS):
        made[each.variant].append(each.record)

    for records, every, there in zip(made, alone, had, strict=True):
        assert in_order(records) == [r for r in every if (r.fact_key, r.generation) not in there]


def test_a_sweep_costs_less_than_its_runs(base: Base) -> None:
    lams = [0.2, 0.3, 0.4, 0.5]
    variants = [replace(CONFIG, lam=lam, lam_backoff=(), batch_facts=2) for lam in lams]
    together = Generation(base, *variants)
    list(together.made(FACTS))
    forwards = 0
    for variant in variants:
        alone = Generation(base, variant)
        list(alone.records(FACTS))
        forwards += alone.counters.row_tokens

    assert together.counters.row_tokens < 0.75 * forwards
    assert together.counters.remembered > 0


def test_variants_may_differ_in_lam_and_attempts_alone(base: Base) -> None:
    with pytest.raises(ValueError, match="lam, lam_backoff and max_attempts alone"):
        Generation(base, CONFIG, replace(CONFIG, seed=1))


@BOTH
def test_attempts_side_by_side_are_those_one_after_another(base: Base, config: MixConfig) -> None:
    """One fact and many slots: every attempt is under way at once."""
    hard = replace(config, pattern="[ae].*[iou]|{answer}", max_attempts=8)

    for fact in FACTS:
        side_by_side = Generation(base, replace(hard, batch_facts=16))
        records = list(side_by_side.records([fact]))
        assert records == records_of(base, [fact], replace(hard, batch_facts=1))


def test_both_conditionals_are_scored_where_that_is_asked_for(base: Base) -> None:
    records = records_of(base, FACTS, replace(CONFIG, score_both=True))

    plain_ones = records_of(base, FACTS, CONFIG)
    for fact, record, other in zip(FACTS, records, plain_ones, strict=True):
        assert replace(record, expert_nats_per_token=None, agreement=None) == other
        prompts, tokens = prompts_of(base, fact), record.token_ids
        assert record.expert_nats_per_token == nats_per_token(base, prompts.expert, tokens)
        likeliest = [
            logits_alone(base.model, [*prompt, *tokens[:-1]], last=len(tokens)).argmax(-1)
            for prompt in prompts.sides
        ]
        share = (likeliest[0] == likeliest[1]).double().mean().item()
        assert record.agreement == pytest.approx(share, abs=5e-4)


def test_what_a_text_costs_is_rounded_alike_however_it_was_measured() -> None:
    dice = random.Random(3)  # noqa: S311

    for _ in range(2000):
        alone = dice.uniform(0, 9)
        company = alone + dice.uniform(-SURE, SURE)
        assert settled(company, lambda alone=alone: alone) == round(alone, 3)  # type: ignore[misc]


def test_a_memo_that_grows_too_large_is_begun_anew_and_changes_nothing(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(WARM, pattern=NEVER, max_attempts=6)
    expected = records_of(base, FACTS, config)

    monkeypatch.setattr(planning, "MEMO_TOKENS", 10)

    assert records_of(base, FACTS, config) == expected
