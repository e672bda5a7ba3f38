"""Wherever memory runs out, half the slots go on and no text is another."""

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.text import Sampling
from mixsd.errors import OutOfMemoryError
from tests.mixsd.decoding.driving import (
    CHEAP,
    GREEDY,
    WARM,
    alone,
    an_engine,
    run,
    some_prompts,
    some_texts,
    told,
)


def run_out(engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str, *, at: int) -> None:
    """Have the rows of now run out of memory at some call."""
    rows, calls = engine._rows, 0  # noqa: SLF001
    working = getattr(rows, method)

    def failing(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            raise torch.OutOfMemoryError
        return working(*args, **options)

    monkeypatch.setattr(rows, method, failing)


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("method", ["feed", "scores"])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_whenever_memory_runs_out_the_texts_are_the_same(
    exact_model: PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    sampling: Sampling,
    method: str,
    at: int,
) -> None:
    texts = some_texts(some_prompts(), 0.3)
    engine = an_engine(exact_model, sampling, Knobs(slots=5, cost=CHEAP, budget=60))
    run_out(engine, monkeypatch, method, at=at)

    ended = run(engine, texts)

    assert told(texts) == [alone(exact_model, text, sampling) for text in texts]
    assert sorted(map(id, ended)) == sorted(map(id, texts))
    assert (engine.counters.halvings, engine.counters.slots) == (1, 2)


def test_memory_may_run_out_again_and_again_until_no_text_fits(
    exact_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = some_texts(some_prompts(), 0.3)
    engine = an_engine(exact_model, GREEDY, Knobs(slots=7))
    for text in texts:
        engine.admit(text)
    slots = []
    for _ in range(2):
        engine.step()
        run_out(engine, monkeypatch, "feed", at=1)
        engine.step()
        slots.append(engine.counters.slots)
        assert engine.free == 0

    run_out(engine, monkeypatch, "feed", at=1)

    assert slots == [3, 1]
    with pytest.raises(OutOfMemoryError, match="not even one text fits"):
        engine.step()


def test_a_text_that_waits_for_a_place_can_be_given_up(
    exact_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = some_texts(some_prompts(4), 0.3)
    engine = an_engine(exact_model, GREEDY, Knobs(slots=4))
    for text in texts:
        engine.admit(text)
    run_out(engine, monkeypatch, "feed", at=1)
    engine.step()

    engine.cancel(texts[3])
    ended = run(engine, [])

    assert texts[3] not in ended
    assert told(texts[:3]) == [alone(exact_model, text, GREEDY) for text in texts[:3]]


def test_another_failure_is_not_taken_for_want_of_memory(
    exact_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = an_engine(exact_model, GREEDY)

    def failing(*_: object, **__: object) -> object:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine._rows, "feed", failing)  # noqa: SLF001

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(engine, some_texts(some_prompts(1), 0.3))
