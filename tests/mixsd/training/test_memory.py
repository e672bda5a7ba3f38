"""Memory: what is computed at once, and what is done when it runs out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mixsd.errors import OutOfMemoryError
from mixsd.models.load import Base
from mixsd.training import lora, memory
from mixsd.training.batches import Example, pieces_of
from mixsd.training.hooks import Hooks
from mixsd.training.memory import Needs, Room, room_for
from mixsd.training.step import Gradients, gradient_of
from mixsd.training.ways import PlainWay, TreeWay
from tests.fixtures.families import make_family
from tests.mixsd.training.conftest import NewBase
from tests.mixsd.training.driving import (
    CONFIG,
    a_batch,
    a_weighted_batch,
    adapted,
    all_in_float64,
    equal,
    gradient,
    off,
    train,
    trained_of,
    weights,
)


def short_of_memory(way: TreeWay, monkeypatch: pytest.MonkeyPatch, tokens: int) -> list[int]:
    """Have passes over more tokens fail. Returns how many each pass that did not fail was over."""
    done: list[int] = []
    working = way.loss

    def failing(examples: Sequence[Example]) -> Tensor:
        if way.size(examples) > tokens:
            raise torch.OutOfMemoryError("no room")
        done.append(way.size(examples))
        return working(examples)

    monkeypatch.setattr(way, "loss", failing)
    return done


@pytest.mark.parametrize("tokens", [26, 40])
def test_when_it_runs_out_the_batch_is_computed_in_smaller_pieces_and_the_gradient_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    model = adapted(make_family("llama", torch.float64))
    way, notices = TreeWay(model), list[str]()
    gradients = Gradients(model, way, merged=None, autocast=None, notice=notices.append)
    with all_in_float64():
        wanted = gradient(model, TreeWay(model), a_weighted_batch())
        done = short_of_memory(way, monkeypatch, tokens)
        for _ in range(2):
            found = gradient_of(gradients, a_weighted_batch(), trained_of(model))
            assert off(found, wanted) < 1e-9

    assert max(done) <= tokens
    assert notices
    assert all("memory ran out" in notice for notice in notices)
    assert "8 texts" not in notices[-1].split("instead")[0]
    assert 0 < gradients.room.tokens <= 2 * tokens
    assert not gradients.room.twice


def test_when_one_text_does_not_fit_layers_are_computed_twice_before_it_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = adapted(make_family("llama"))
    way, notices = TreeWay(model), list[str]()
    gradients = Gradients(model, way, merged=None, autocast=None, notice=notices.append)
    short_of_memory(way, monkeypatch, 3)

    with pytest.raises(OutOfMemoryError, match="a text of 25 tokens does not fit"):
        gradients.add(a_batch(), 1.0)

    assert gradients.room.twice
    assert "twice" in notices[-1]
    assert all(parameter.grad is None for parameter in trained_of(model))


def test_other_failures_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(make_family("llama"))
    way = TreeWay(model)

    def failing(examples: Sequence[Example]) -> Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(way, "loss", failing)
    with pytest.raises(RuntimeError, match="shapes"):
        Gradients(model, way, merged=None, autocast=None).add(a_batch(), 1.0)


def test_a_run_that_is_short_of_memory_goes_on_and_says_so(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    plenty = train(base, tmp_path / "a")
    lora.detach(plenty.model)
    working = TreeWay.loss

    def failing(way: TreeWay, examples: Sequence[Example]) -> Tensor:
        if len(examples) > 2 and way.size(examples) < 40:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory: you tried 1 bytes")
        return working(way, examples)

    monkeypatch.setattr(TreeWay, "loss", failing)
    scarce = train(base, tmp_path / "b", hooks=Hooks(on_notice=notices.append))

    assert any("memory ran out" in notice for notice in notices)
    assert scarce.losses == pytest.approx(plenty.losses, rel=1e-5)


@pytest.mark.parametrize(
    ("free", "longest", "largest", "expected"),
    [
        (None, 10, 9999, Room()),
        (1_000_000, 10, 700, Room()),
        (1_000_000, 10, 701, Room(tokens=700)),
        (1_000_000, 700, 9999, Room(tokens=700)),
        (1_000_000, 701, 9999, Room(tokens=7000, twice=True)),  # a single text would not fit otherwise
        (100_000, 10, 99, Room(tokens=700, twice=True)),  # pieces of 70 tokens would be too small
        (0, 10, 99, Room(tokens=1, twice=True)),
    ],
)
def test_layers_are_computed_twice_only_where_the_estimate_needs_it(
    free: int | None, longest: int, largest: int, expected: Room
) -> None:
    assert room_for(Needs(once=1000, twice=100), free, longest=longest, largest=largest) == expected


def test_a_model_without_such_layers_is_cut_further_instead() -> None:
    assert room_for(Needs(once=1000, twice=1000), 10_000, longest=10, largest=99) == Room(tokens=7)


@pytest.mark.parametrize("tokens", [8, 64])
def test_what_a_token_keeps_is_counted(tokens: int) -> None:
    """A layer that keeps its input and no more, by hand."""
    frozen = torch.nn.Linear(10, 30, bias=False).requires_grad_(requires_grad=False)
    trained = torch.nn.Linear(30, 5, bias=False)
    input_NI = torch.randn(tokens, 10, requires_grad=True)

    with memory.counted([*frozen.parameters(), *trained.parameters()]) as kept:
        trained(frozen(input_NI)).sum()

    assert sum(kept.values()) == tokens * 30 * 4


def test_layers_that_are_computed_twice_keep_less() -> None:
    model = adapted(make_family("llama"))
    way, kept = PlainWay(model, pad_id=0), {}
    for twice in (False, True):
        with memory.counted(list(model.parameters())) as counts:
            gradient(model, way, room=Room(twice=twice))
        kept[twice] = sum(counts.values())

    assert kept[True] < kept[False] / 2


def test_free_memory_of_this_machine_is_known_where_linux_tells_it() -> None:
    free = memory.free_bytes(torch.device("cpu"))

    assert free is None or free > 0
    assert memory.free_bytes(torch.device("meta")) is None


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:   800 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    cpu = torch.device("cpu")

    assert memory.free_bytes(cpu) == 800 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.free_bytes(cpu) == 800 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.free_bytes(cpu) == 4000


def test_pieces_lie_together_and_are_no_larger_than_they_may_be() -> None:
    examples = a_batch()

    pieces = pieces_of(examples, 3, lambda piece: sum(len(e.read) for e in piece) <= 30)

    assert [example for piece in pieces for example in piece] == examples
    assert max(map(len, pieces)) <= 3
    assert all(len(piece) == 1 or sum(len(e.read) for e in piece) <= 30 for piece in pieces)
    assert pieces_of(examples, 0, lambda _: True) == [examples]


def test_how_much_is_computed_at_once_is_kept_by_a_resumed_run(
    new_base: NewBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free memory is another each time; a resumed run cuts its batches as before."""
    sizes: list[int] = []
    working = TreeWay.loss

    def note(way: TreeWay, examples: Sequence[Example]) -> Tensor:
        sizes.append(len(examples))
        return working(way, examples)

    monkeypatch.setattr(TreeWay, "loss", note)
    monkeypatch.setattr(memory, "_WORTHWHILE", 1)
    monkeypatch.setattr(memory, "needs_of", lambda *_: Needs(once=1000, twice=100))
    monkeypatch.setattr(memory, "free_bytes", lambda _: 40_000)
    straight = weights(train(new_base(), tmp_path / "a"))
    assert len(sizes) > 2 + 6, "the estimate cuts batches: there are more passes than trials and steps"
    train(new_base(), tmp_path / "b", replace(CONFIG, max_steps=3))
    monkeypatch.setattr(memory, "free_bytes", lambda _: None)

    resumed = train(new_base(), tmp_path / "b", resume=[tmp_path / "b" / "checkpoint-3"])

    assert equal(weights(resumed), straight)
    assert not equal(weights(train(new_base(), tmp_path / "c")), straight), "pieces round differently"
