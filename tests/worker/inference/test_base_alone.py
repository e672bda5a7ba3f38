"""A base model that is asked by itself, also while adapters on it are."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.inference.wire import Ask, AskedBase
from mixsd.packaging import WEIGHTS
from tests.worker.inference.conftest import CAP, World
from tests.worker.inference.test_decoder import Process, a_process


@pytest.fixture
def waiting(world: World) -> Iterator[Process]:
    """A process of a test's own, whose thread has yet to be started."""
    with a_process(world) as process:
        yield process


def of_base(world: World, **changes: Any) -> Ask:
    base = AskedBase(base_model="tiny/random", base_revision=world.adapters["random-0"].base_revision)
    return world.ask("random-0", **{"adapter": base, "compare_base": False, **changes})


def expected(world: World) -> dict[tuple[int, str], str]:
    return {place: text for place, text in world.expected("random-0").items() if place[1] == "base"}


def test_it_answers_where_no_adapter_was_ever_loaded(waiting: Process, world: World) -> None:
    waiting.thread.start()

    assert waiting.asks(of_base(world)).texts() == expected(world)
    assert waiting.room.adapters == ()


def test_without_a_revision_the_one_that_is_there_answers(waiting: Process, world: World) -> None:
    base = AskedBase(base_model="tiny/random", base_revision=None)
    waiting.thread.start()

    assert waiting.asks(of_base(world, adapter=base)).texts() == expected(world)


def test_adapters_that_come_meanwhile_change_nothing(waiting: Process, world: World) -> None:
    listeners = [waiting.asks(of_base(world)), waiting.asks(world.ask("random-1"))]
    listeners.append(waiting.asks(of_base(world)))

    waiting.thread.start()

    assert listeners[0].texts() == listeners[2].texts() == expected(world)
    assert listeners[1].texts() == world.expected("random-1")
    assert waiting.asks(of_base(world)).texts() == expected(world)


def test_an_adapter_that_cannot_be_loaded_does_not_take_it_along(waiting: Process, world: World) -> None:
    adapter = world.adapters["random-0"]
    broken = adapter.model_copy(update={"files": {**adapter.files, WEIGHTS: "0" * 64}})
    whole, failing = waiting.asks(of_base(world)), waiting.asks(world.ask("random-0", adapter=broken))

    waiting.thread.start()

    assert whole.texts() == expected(world)
    assert failing.failure().code == "inference_failed"


@pytest.mark.parametrize("most", [CAP, 100_000])
def test_an_answer_that_may_be_as_long_as_fits_is_cut_there(
    waiting: Process, world: World, most: int
) -> None:
    long = [[{"role": "user", "content": "x " * 215}]]
    waiting.thread.start()

    answer = waiting.asks(of_base(world, chats=long, max_new_tokens=most, fitting=True)).answers()[0, "base"]

    assert answer.tokens <= most
    assert answer.prompt_tokens + answer.tokens <= 512
    too_long = [[{"role": "user", "content": "x " * 600}]]
    refused = waiting.asks(of_base(world, chats=too_long, max_new_tokens=most, fitting=True)).failure()
    assert refused.code == "prompt_too_long"
