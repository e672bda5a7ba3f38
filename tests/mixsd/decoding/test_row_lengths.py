"""A row holds the beginning of its prompt and text, and nothing behind that is ever seen."""

import random
from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.flat import FlatRows
from mixsd.decoding.text import Text
from tests.mixsd.decoding.driving import (
    CHEAP,
    GREEDY,
    WARM,
    Guess,
    alone,
    an_engine,
    run,
    some_prompts,
    some_texts,
    told,
)


def rows_of(engine: Engine) -> FlatRows:
    rows = engine._rows  # noqa: SLF001
    assert isinstance(rows, FlatRows)
    return rows


def lengths(engine: Engine) -> list[tuple[int, int]]:
    """Return how long each row in use is, and how much longer its prompt and text are.

    Fails where a row holds anything else than their beginning.
    """
    contents = rows_of(engine).contents
    found = []
    for slot in engine._slots:  # noqa: SLF001
        if slot.text is not None:
            for row, prompt in zip(slot.rows, slot.text.prompts.sides, strict=True):
                whole = [*prompt, *slot.text.tokens]
                assert contents[row] == whole[: len(contents[row])]
                found.append((len(contents[row]), len(whole) - len(contents[row])))
    return found


@torch.inference_mode()
def spoil(engine: Engine, dice: torch.Generator) -> None:
    """Write huge numbers behind the end of every row."""
    rows = rows_of(engine)
    for buffer in rows.store._buffers():  # noqa: SLF001
        for row, content in enumerate(rows.contents):
            rest = buffer[row, len(content) :]
            rest.copy_(1e30 * torch.randn(rest.shape, generator=dice, dtype=rest.dtype))


def a_guess(seed: int, texts: Sequence[Text], gold: Sequence[Sequence[int]]) -> Guess:
    """Guess any number of tokens, each right with an even chance."""
    dice = random.Random(seed)  # noqa: S311  guesses, not secrets
    of = {text.prompts.expert: tokens for text, tokens in zip(texts, gold, strict=True)}

    def guess(tokens: Sequence[int], prompt: Sequence[int]) -> list[int]:
        right = of[tuple(prompt)][len(tokens) :]
        return [token if dice.random() < 0.5 else 5 for token in right[: dice.randrange(6)]]

    return guess


@pytest.mark.parametrize("seed", range(4))
def test_after_every_step_a_row_lacks_the_last_token_and_the_rest_is_never_seen(
    exact_model: PreTrainedModel, seed: int
) -> None:
    texts = some_texts(some_prompts(6), 0.4)
    wanted = [alone(exact_model, text, WARM) for text in texts]
    noise = torch.Generator().manual_seed(seed)
    knobs = Knobs(slots=1 + seed, cost=CHEAP)
    engine = an_engine(exact_model, WARM, knobs, guess=a_guess(seed, texts, [each[0] for each in wanted]))
    checked = 0

    def after_step(engine: Engine) -> None:
        nonlocal checked
        found = lengths(engine)
        assert all(missing >= 1 for _, missing in found)
        checked += len(found)
        spoil(engine, noise)

    run(engine, texts, after_step)

    assert told(texts) == wanted
    assert checked > 0
    assert 0 < engine.counters.accepted < engine.counters.drafted


def test_without_guesses_a_row_lacks_just_the_last_token(exact_model: PreTrainedModel) -> None:
    missing: set[int] = set()
    engine = an_engine(exact_model, GREEDY, Knobs(slots=3, most_drafts=0, memo=False))

    run(engine, some_texts(some_prompts(), 0.3), lambda each: missing.update(n for _, n in lengths(each)))

    assert missing == {1}


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_are_fed_bit_by_bit_hold_no_guess_that_was_not_judged(
    exact_model: PreTrainedModel, seed: int
) -> None:
    """Between two passes a slot may be fed in part, and other guesses may be made then."""
    texts = some_texts(some_prompts(6), 0.4)
    wanted = [alone(exact_model, text, GREEDY) for text in texts]
    noise = torch.Generator().manual_seed(seed)
    knobs = Knobs(slots=4, budget=1 + 2 * seed, chunk=2, cost=CHEAP)
    engine = an_engine(exact_model, GREEDY, knobs, guess=a_guess(seed, texts, [each[0] for each in wanted]))

    def after_step(engine: Engine) -> None:
        assert all(missing >= 0 for _, missing in lengths(engine))
        spoil(engine, noise)

    run(engine, texts, after_step)

    assert told(texts) == wanted
