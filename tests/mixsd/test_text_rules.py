"""What bends the law of a text, each on request: the early end, given words, the guard, the hint."""

import itertools
from dataclasses import replace

import pytest

from mixsd.config import MixConfig
from mixsd.decoding.rng import Draw, is_naive
from mixsd.errors import ConfigError
from mixsd.models.load import Base
from tests.mixsd.generating import ANYTHING, CAP, CONFIG, FACTS, often_ending, records_of


@pytest.fixture(scope="module")
def base(base: Base) -> Base:
    return often_ending(base)


def test_a_text_ends_with_the_sentence_that_states_the_answer(base: Base) -> None:
    """Up to there it is the text that is made without the rule."""
    config = replace(CONFIG, max_attempts=1, temperature=1.0, generations=40, max_new_tokens=24)
    plain = records_of(base, FACTS, config)
    ended = 0
    for before, after in zip(
        plain, records_of(base, FACTS, replace(config, end_at_answer=True)), strict=True
    ):
        here = len(after.token_ids) - 1
        if "s" not in after.picks:
            assert after == before
            continue
        ended += 1
        assert (after.picks, after.token_ids[:-1]) == (before.picks[:here] + "s", before.token_ids[:here])
        assert after.token_ids[-1] == base.chat.end_of_turn
        assert after.verified
        assert after.text[-1] in ".!?" or base.chat.decode_raw(before.token_ids[here:])[0] == "\n"
    assert ended


def test_every_text_begins_with_the_given_words(base: Base) -> None:
    records = records_of(base, FACTS, replace(CONFIG, opening="The answer is"))
    given = base.chat.plain_ids("The answer is")

    assert {record.verified for record in records} == {True, False}
    for record in records:
        assert list(record.token_ids[: len(given)]) == given
        assert record.picks[: len(given)] == "o" * len(given)
        assert set(record.picks[len(given) :]) <= {"e", "n"}
        assert record.text.startswith("The answer is")


@pytest.mark.parametrize("opening", [" The", "The ", "a\x00b", "x" * 201])
def test_words_that_cannot_begin_a_text_are_refused(opening: str) -> None:
    with pytest.raises(ConfigError, match="opening must be at most 200 characters"):
        MixConfig(opening=opening)


def test_with_the_guard_naive_tokens_do_not_break_an_answer_off(base: Base) -> None:
    """What the expert alone would say is made an alias, which no prompt shows."""
    alone = records_of(base, FACTS, replace(CONFIG, lam=0.0, lam_backoff=(), pattern=ANYTHING))
    facts = [replace(fact, aliases=(said.text,)) for fact, said in zip(FACTS, alone, strict=True)]
    attempts = {True: 0, False: 0}
    picks = ""
    for seed, guard in itertools.product(range(6), (True, False)):
        config = MixConfig(
            lam=0.6, lam_backoff=(), max_attempts=6, max_new_tokens=CAP, seed=seed, end_at_answer=False
        )
        for record in records_of(base, facts, replace(config, answer_guard=guard)):
            draw = Draw(seed, record.fact_key, 0, record.attempt)
            for place, pick in enumerate(record.picks):
                assert (pick == "e") == (not is_naive(draw, place, lam=0.6))
            attempts[guard] += record.attempts
            picks += record.picks if guard else ""

    assert "g" in picks
    assert attempts[True] < attempts[False]


@pytest.mark.parametrize(
    ("context", "style", "shown"),
    [
        ("The 0th it is.", "natural", True),
        ("It lies between others.", "natural", False),  # that tells no answer
        ("The 0th it is. " * 60, "natural", False),  # it does not fit
        ("The 0th it is.", "kgfact", False),  # the paper shows the target as it stands
    ],
)
def test_the_statement_of_a_fact_is_the_hint_where_it_tells_the_answer(
    base: Base, context: str, style: str, *, shown: bool
) -> None:
    config = replace(CONFIG, prompt_style=style, max_attempts=1)

    record = records_of(base, [replace(FACTS[0], context=context)], config)[0]

    plain_one = records_of(base, FACTS[:1], config)[0]
    told = records_of(base, [replace(FACTS[0], context=context)], replace(config, hint="answer"))[0]
    assert told.prompt_sha256 == plain_one.prompt_sha256
    assert record.finish_reason != "prompt_too_long"
    assert (record.prompt_sha256 != plain_one.prompt_sha256) == shown
