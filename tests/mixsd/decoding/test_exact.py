"""A text is the one that the reference decodes, whatever the knobs, the company and the guesses."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.choice import Candidates
from mixsd.decoding.engine import Knobs
from mixsd.decoding.memo import Node
from mixsd.decoding.text import Prompts, Sampling, Text
from tests.mixsd.decoding.driving import (
    CAP,
    CHEAP,
    GREEDY,
    STOPS,
    WARM,
    Guess,
    Told,
    a_draw,
    alone,
    an_engine,
    gold_of,
    run,
    some_prompts,
    some_texts,
    told,
)

LAWS = [(sampling, lam) for sampling in (GREEDY, WARM) for lam in (0.0, 0.3, 1.0)]
KNOBS = {
    "slots 1": Knobs(slots=1, most_drafts=0),
    "slots 2": Knobs(slots=2, most_drafts=0),
    "slots 7": Knobs(slots=7, most_drafts=0),
    "slots 16": Knobs(slots=16, most_drafts=0),
    "chunk 1": Knobs(slots=3, chunk=1, most_drafts=0),
    "chunk 3": Knobs(slots=3, chunk=3, most_drafts=0),
    "budget 1": Knobs(slots=3, budget=1, most_drafts=0),
    "budget 5, chunk 2": Knobs(slots=7, budget=5, chunk=2, most_drafts=0),
    "no memo": Knobs(slots=3, memo=False, most_drafts=0),
    "measured drafts": Knobs(slots=2),
    "one draft": Knobs(slots=2, most_drafts=1, cost=CHEAP),
    "four drafts": Knobs(slots=7, most_drafts=4, cost=CHEAP),
    "eight drafts": Knobs(slots=1, cost=CHEAP),
    "eight drafts, no memo": Knobs(slots=7, memo=False, cost=CHEAP),
    "eight drafts, budget 1": Knobs(slots=3, budget=1, cost=CHEAP),
    "eight drafts, budget 6": Knobs(slots=7, budget=6, chunk=3, cost=CHEAP),
}

Expected = dict[tuple[float, float], list[Told]]


@pytest.fixture(scope="module")
def expected(exact_model: PreTrainedModel) -> Expected:
    return {
        (sampling.temperature, lam): [
            alone(exact_model, text, sampling) for text in some_texts(some_prompts(), lam)
        ]
        for sampling, lam in LAWS
    }


@pytest.mark.parametrize("knobs", KNOBS.values(), ids=KNOBS.keys())
def test_no_knob_changes_a_text(exact_model: PreTrainedModel, expected: Expected, knobs: Knobs) -> None:
    for sampling, lam in LAWS:
        texts = some_texts(some_prompts(), lam)

        run(an_engine(exact_model, sampling, knobs), texts)

        assert told(texts) == expected[sampling.temperature, lam]


def test_the_texts_tell_a_wrong_engine_from_a_right_one(
    exact_model: PreTrainedModel, expected: Expected
) -> None:
    everything = [each for texts in expected.values() for each in texts]

    assert an_engine(exact_model, GREEDY).way.name == "flat"
    assert {finish for _, _, finish in everything} == {"stop", "cap"}
    assert len({tuple(tokens) for tokens, _, _ in everything}) > len(everything) / 2


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_neither_order_nor_company_changes_a_text(
    exact_model: PreTrainedModel, expected: Expected, sampling: Sampling
) -> None:
    wanted = expected[sampling.temperature, 0.3]
    dice = random.Random(5)  # noqa: S311  an order, not a secret
    for _ in range(4):
        texts = some_texts(some_prompts(), 0.3)
        engine = an_engine(exact_model, sampling, Knobs(slots=3, cost=CHEAP))

        run(engine, dice.sample(texts, len(texts)))

        assert told(texts) == wanted
    for place, text in enumerate(some_texts(some_prompts(), 0.3)):
        run(an_engine(exact_model, sampling), [text])
        assert told([text]) == [wanted[place]]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("shares", [True, False], ids=["one memo", "memos of their own"])
def test_a_text_that_was_begun_elsewhere_goes_on_as_it_would_have(
    exact_model: PreTrainedModel, expected: Expected, sampling: Sampling, *, shares: bool
) -> None:
    wanted = expected[sampling.temperature, 0.3]
    for place, pair in enumerate(some_prompts()):
        tokens, picks, _ = wanted[place]
        memo: Node[Candidates] = Node()
        texts = []
        for written in (len(tokens) - 1, len(tokens) // 2, 0):
            text = some_texts([pair], 0.3)[0]
            text.draw = a_draw(f"fact-{place}")
            text.tokens, text.picks = tokens[:written], list(picks[:written])
            if shares:
                text.memo = memo
            texts.append(text)

        run(an_engine(exact_model, sampling, Knobs(slots=1, most_drafts=0)), texts)

        assert told(texts) == [wanted[place]] * 3


@pytest.mark.parametrize("knobs", [Knobs(slots=1), Knobs(slots=5, cost=CHEAP), Knobs(memo=False)])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_attempts_side_by_side_or_one_by_one_are_the_same(
    exact_model: PreTrainedModel, sampling: Sampling, knobs: Knobs
) -> None:
    """They share prompts and a memo, and differ in lam besides."""
    pair = some_prompts(3)[2]
    memo: Node[Candidates] = Node()
    texts = [
        Text(pair, a_draw(attempt=attempt), lam, CAP, memo=memo)
        for attempt in range(4)
        for lam in (0.0, 0.5, 0.9)
    ]

    run(an_engine(exact_model, sampling, knobs), texts)

    assert told(texts) == [alone(exact_model, text, sampling) for text in texts]
    assert len({tuple(text.tokens) for text in texts}) > 2


def test_a_text_that_is_given_up_disturbs_no_other(exact_model: PreTrainedModel, expected: Expected) -> None:
    texts = some_texts(some_prompts(), 0.3)
    engine = an_engine(exact_model, GREEDY, Knobs(slots=3, budget=4, cost=CHEAP))
    given_up = texts[1]

    def give_up(_: object) -> None:
        if len(given_up.tokens) == 2 and not engine.counters.cancelled:
            engine.cancel(given_up)

    ended = run(engine, texts, give_up)

    assert given_up not in ended
    assert engine.counters.cancelled == 1
    kept = [place for place in range(len(texts)) if place != 1]
    assert told([texts[place] for place in kept]) == [expected[0.0, 0.3][place] for place in kept]


# Guesses


def adversaries(gold: dict[tuple[int, ...], list[int]]) -> dict[str, Guess]:
    dice = random.Random(3)  # noqa: S311  guesses, not secrets

    def right(tokens: Sequence[int], prompt: Sequence[int]) -> list[int]:
        return gold[tuple(prompt)][len(tokens) :][:4]

    def half_right(tokens: Sequence[int], prompt: Sequence[int]) -> list[int]:
        return [token if dice.random() < 0.7 else 5 for token in right(tokens, prompt)]

    return {
        "wrong": lambda tokens, prompt: [(right(tokens, prompt)[0] + 1) % 384, 6, 7],
        "random": lambda *_: [dice.randrange(384) for _ in range(dice.randrange(6))],
        "right": right,
        "half right": half_right,
        "an end within": lambda tokens, prompt: [*right(tokens, prompt)[:1], min(STOPS), 7, 8],
        "right beyond the end": lambda tokens, prompt: [*right(tokens, prompt), 7, 7, 7, 7],
        "over the cap": lambda tokens, prompt: [*gold[tuple(prompt)][len(tokens) :], *([9] * CAP)],
        "none": lambda *_: [],
    }


@pytest.mark.parametrize("name", adversaries({}))
@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(slots=1, cost=CHEAP),
        Knobs(slots=4, cost=CHEAP, memo=False),
        Knobs(slots=4, cost=CHEAP, budget=3),
        Knobs(slots=7, cost=CHEAP, chunk=2),
    ],
    ids=["slots 1", "no memo", "budget 3", "chunk 2"],
)
def test_no_guess_changes_a_text(
    exact_model: PreTrainedModel, expected: Expected, name: str, knobs: Knobs
) -> None:
    for sampling, lam in LAWS:
        wanted = expected[sampling.temperature, lam]
        texts = some_texts(some_prompts(), lam)
        guess = adversaries(gold_of(texts, wanted))[name]

        run(an_engine(exact_model, sampling, knobs, guess=guess), texts)

        assert told(texts) == wanted


def test_right_guesses_are_accepted_and_save_passes(exact_model: PreTrainedModel, expected: Expected) -> None:
    texts = some_texts(some_prompts(), 0.3)
    right = adversaries(gold_of(texts, expected[1.0, 0.3]))["right"]
    engine = an_engine(exact_model, WARM, Knobs(slots=1, cost=CHEAP), guess=right)

    run(engine, texts)

    counters = engine.counters
    assert counters.accepted == counters.drafted > 0
    assert counters.forwards == sum(-(-len(text.tokens) // 5) for text in texts)
    drafter = engine._drafter  # noqa: SLF001
    assert all(length == accepted for length, accepted in drafter.learned)  # type: ignore[union-attr]


def test_wrong_guesses_are_not_accepted(exact_model: PreTrainedModel, expected: Expected) -> None:
    texts = some_texts(some_prompts(), 0.3)
    wrong = adversaries(gold_of(texts, expected[0.0, 0.3]))["wrong"]
    engine = an_engine(exact_model, GREEDY, Knobs(slots=1, cost=CHEAP), guess=wrong)

    run(engine, texts)

    assert (engine.counters.accepted, engine.counters.forwards) == (0, engine.counters.tokens)


# Edges


@pytest.mark.parametrize("knobs", [Knobs(slots=1), Knobs(slots=4, cost=CHEAP)])
def test_pure_lam_is_greedy_generation_from_one_prompt(exact_model: PreTrainedModel, knobs: Knobs) -> None:
    for lam in (0.0, 1.0):
        texts = some_texts(some_prompts(), lam, cap=20)

        run(an_engine(exact_model, GREEDY, knobs), texts)

        for text in texts:
            prompt = text.prompts.naive if lam else text.prompts.expert
            assert prompt is not None
            generated = exact_model.generate(  # type: ignore[operator]
                torch.tensor([prompt]),
                max_new_tokens=20,
                do_sample=False,
                eos_token_id=sorted(STOPS),
                pad_token_id=0,
            )
            assert text.tokens == generated[0, len(prompt) :].tolist()


def test_a_stop_token_ends_a_text_and_stays_in_it(exact_model: PreTrainedModel) -> None:
    pair = some_prompts(1)
    never = replace(GREEDY, stop_ids=frozenset())
    whole = some_texts(pair, 0.0)
    run(an_engine(exact_model, never), whole)
    tokens = whole[0].tokens
    stopping = replace(GREEDY, stop_ids=frozenset({tokens[3]}))

    text = some_texts(pair, 0.0)
    run(an_engine(exact_model, stopping), text)

    length = tokens.index(tokens[3]) + 1
    assert told(text) == [(tokens[:length], "e" * length, "stop")]
    assert (len(tokens), whole[0].finish) == (CAP, "cap")


EDGES: dict[str, list[tuple[int, ...]]] = {
    "beginnings of each other": [(5, 6, 7), (5, 6, 7, 8), (5, 6, 7, 8, 9, 10), (5, 6)],
    "equal": [(5, 6, 7)] * 4,
    "one token": [(5,), (6,), (5,), (7, 8)],
}


@pytest.mark.parametrize("cap", [1, 2, CAP])
@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize(
    "knobs", [Knobs(slots=1), Knobs(slots=4, cost=CHEAP), Knobs(slots=3, chunk=1, budget=2, cost=CHEAP)]
)
def test_prompts_that_begin_alike_do_not_disturb_each_other(
    exact_model: PreTrainedModel, name: str, cap: int, knobs: Knobs
) -> None:
    prompts = [Prompts(expert=ids, naive=EDGES[name][place - 1]) for place, ids in enumerate(EDGES[name])]
    for sampling in (GREEDY, WARM):
        texts = some_texts(prompts, 0.4, cap)

        run(an_engine(exact_model, sampling, knobs), texts)

        assert told(texts) == [alone(exact_model, text, sampling) for text in texts]


def test_in_single_precision_near_ties_are_judged_again_alone(exact_model: PreTrainedModel) -> None:
    engine = an_engine(exact_model, WARM, Knobs(slots=3, memo=False, most_drafts=0))
    engine._near = 1e9  # noqa: SLF001  every token counts as a near tie
    texts = some_texts(some_prompts(3), 0.3)

    run(engine, texts)

    assert engine.counters.judged_alone == engine.counters.tokens
    assert told(texts) == [alone(exact_model, text, WARM) for text in texts]
