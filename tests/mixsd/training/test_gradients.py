"""Every fast way gives the gradient of the plain one, on every family of models."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.rows import logits_alone
from mixsd.training.batches import Example, weight_of
from mixsd.training.memory import Room
from mixsd.training.merged import bytes_of, mergeable_layers
from mixsd.training.suited import choose, room_to_merge
from mixsd.training.ways import PlainWay, TreeWay
from tests.fixtures.families import FAMILIES, SHORT_ROPE, STRETCHED, UNSUITED, make_family
from tests.mixsd.training.driving import (
    a_batch,
    a_weighted_batch,
    adapted,
    all_in_float64,
    gradient,
    off,
    soft,
    tokens,
    trained_of,
)

EXACT = 1e-9
ROUNDED = 1e-4
TRAINABLE = tuple(name for name in UNSUITED if name != "mamba")  # whose layers peft refuses


@pytest.fixture(scope="module")
def exact() -> Callable[[str], PreTrainedModel]:
    return lambda name: make_family(name, torch.float64)


@pytest.mark.parametrize("batch", [a_batch, a_weighted_batch], ids=["plain", "weighted-and-soft"])
@pytest.mark.parametrize("merged", [False, True], ids=["peft", "merged"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_tree_gives_the_gradient_of_rows(
    name: str, batch: Callable[[], list[Example]], *, merged: bool
) -> None:
    model = adapted(make_family(name, torch.float64))
    with all_in_float64():
        wanted = gradient(model, examples=batch())
        found = gradient(model, TreeWay(model), batch(), merged=merged)

    assert off(found, wanted) < EXACT
    assert wanted[1:].norm() > 0.01


@pytest.mark.parametrize("merged", [False, True], ids=["peft", "merged"])
@pytest.mark.parametrize("name", FAMILIES)
def test_in_float32_it_is_the_same_but_for_rounding(name: str, *, merged: bool) -> None:
    model = adapted(make_family(name))

    assert off(gradient(model, TreeWay(model), merged=merged), gradient(model)) < ROUNDED


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_computed_twice_give_the_same_gradient_to_the_bit(name: str) -> None:
    model = adapted(make_family(name))

    for way in (TreeWay(model), PlainWay(model, pad_id=0)):
        once, twice = (gradient(model, way, room=Room(twice=twice)) for twice in (False, True))
        assert torch.equal(once, twice)


@pytest.mark.parametrize("name", FAMILIES)
def test_pieces_of_any_size_sum_up_to_the_same_gradient(name: str) -> None:
    model = adapted(make_family(name, torch.float64))
    batch = a_weighted_batch()
    with all_in_float64():
        whole = gradient(model, TreeWay(model), batch)
        for options in ({"most": 1}, {"most": 3}, {"room": Room(tokens=20)}):
            assert off(gradient(model, TreeWay(model), batch, **options), whole) < EXACT


def test_the_order_of_a_batch_and_padding_change_nothing() -> None:
    model = adapted(make_family("llama", torch.float64))
    batch = a_weighted_batch()
    long = Example(tokens(60, 1), tokens(3, 2), weight=0.0)

    for way in (TreeWay(model), PlainWay(model, pad_id=0)):
        wanted = gradient(model, way, batch)
        assert off(gradient(model, way, batch[::-1]), wanted) < EXACT
        assert off(gradient(model, way, [*batch, long]), wanted) < EXACT


@pytest.mark.parametrize("name", [*FAMILIES, *TRAINABLE])
def test_rows_give_the_loss_of_each_text_alone(name: str) -> None:
    model = adapted(make_family(name, torch.float64))
    batch = a_batch()

    alone = 0.0
    for example in batch:
        kept = len(example.target) + 1
        scores = logits_alone(model, [*example.prompt, *example.target], last=kept)[:-1]
        alone -= scores.log_softmax(-1)[range(kept - 1), list(example.target)].sum().item()

    assert gradient(model, examples=batch)[0].item() == pytest.approx(alone / weight_of(batch), rel=1e-6)


@pytest.mark.parametrize("name", STRETCHED)
def test_a_text_that_would_change_others_is_computed_by_itself(name: str) -> None:
    model = adapted(make_family(name, torch.float64))
    batch = [example for example in a_batch() if len(example.read) <= SHORT_ROPE]
    long = [Example(tokens(SHORT_ROPE + more, 5), tokens(3, 6)) for more in (1, 9)]
    weight = weight_of([*batch, *long])

    with all_in_float64():
        parts = [gradient(model, examples=part) * weight_of(part) for part in (batch, long[:1], long[1:])]
        together = gradient(model, TreeWay(model), [*batch, *long])

    assert off(together * weight, torch.stack(parts).sum(0)) < EXACT


@pytest.mark.parametrize("name", FAMILIES)
def test_the_families_are_trained_the_fast_way(name: str) -> None:
    model = adapted(make_family(name))
    notices: list[str] = []

    found = choose(model, a_batch(), pad_id=0, autocast=None, merge=True, notice=notices.append)

    assert (found.way.name, notices) == ("tree", [])
    assert found.merged is not None
    assert all(parameter.grad is None for parameter in trained_of(model))


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("name", TRAINABLE)
def test_a_model_that_cannot_be_is_trained_in_rows_with_a_notice(name: str, count: int) -> None:
    model = adapted(make_family(name))
    notices: list[str] = []

    found = choose(model, a_batch()[:count], pad_id=0, autocast=None, merge=True, notice=notices.append)

    assert found.way.name == "rows"
    assert len(notices) == 1
    assert off(gradient(model, found.way, merged=found.merged is not None), gradient(model)) < ROUNDED


def test_with_dropout_nothing_is_shared() -> None:
    model = adapted(make_family("llama"), lora_dropout=0.5)
    notices: list[str] = []

    found = choose(model, a_batch(), pad_id=0, autocast=None, merge=True, notice=notices.append)

    assert (found.way.name, found.merged is not None and bool(found.merged.buffers)) == ("rows", False)
    assert "dropout" in notices[0]
    twins = [a_batch()[0]] * 2
    with torch.random.fork_rng(devices=[]):
        alone, both = (gradient(model, found.way, part) for part in (twins[:1], twins))
    assert not torch.allclose(alone[1:], both[1:]), "equal texts were dropped from alike"


def test_a_model_that_drops_at_random_by_itself_is_trained_in_rows() -> None:
    base = make_family("llama")
    base.config.attention_dropout = 0.1
    notices: list[str] = []

    found = choose(adapted(base), a_batch(), pad_id=0, autocast=None, merge=True, notice=notices.append)

    assert found.way.name == "rows"
    assert "dropout" in notices[0]


def test_a_fast_way_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(make_family("llama"))
    notices: list[str] = []
    monkeypatch.setattr("mixsd.training.merged._MergedLayer._scale", 1.0, raising=False)
    monkeypatch.setattr(
        "mixsd.training.merged._MergedLayer.merge", lambda self: setattr(self._layer, "forward", self.forward)
    )

    found = choose(model, a_batch(), pad_id=0, autocast=None, merge=True, notice=notices.append)

    assert found.way.name == "rows"
    assert found.merged is None
    assert len(notices) == 2


def test_computing_in_half_precision_is_near_the_exact_gradient() -> None:
    """What runs on GPUs alone, tried on the CPU, which can do it too, slowly."""
    model = adapted(make_family("llama"))

    wanted = gradient(model)
    found = gradient(model, TreeWay(model), autocast=torch.bfloat16)
    chosen = choose(model, a_batch(), pad_id=0, autocast=torch.bfloat16, merge=True, notice=lambda _: None)

    assert found[0].item() == pytest.approx(wanted[0].item(), rel=0.02)
    assert (found[1:] - wanted[1:]).norm() < 0.1 * wanted[1:].norm()
    assert not torch.equal(found, wanted)
    assert (chosen.way.name, chosen.merged) == ("tree", None)


def test_soft_targets_must_fit_their_target() -> None:
    with pytest.raises(ValueError, match="4 places"):
        replace(a_batch()[0], soft=soft(4, 1))
    with pytest.raises(ValueError, match="prompt"):
        Example((), (3,))


def test_without_memory_for_merged_layers_peft_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(make_family("llama"))
    size = bytes_of(mergeable_layers(model))

    for free, enough in ((None, True), (2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr("mixsd.training.memory.free_bytes", lambda _, free=free: free)
        assert room_to_merge(model) == enough
    assert size == 4 * 2 * (48 * (48 + 24 + 24 + 48) + 3 * 48 * 80)
    found = choose(model, a_batch(), pad_id=0, autocast=None, merge=False, notice=lambda _: None)
    assert (found.way.name, found.merged) == ("tree", None)


def test_a_trial_needs_no_loss_to_be_left() -> None:
    """Targets that are learned, or soft ones that already agree, have gradients of rounding alone."""
    model = adapted(make_family("llama"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lm_head.weight"):
                parameter.mul_(1e4)  # so sure of itself that a right answer costs nothing
        prompt = tokens(9, 1)
        sure = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
    notices: list[str] = []

    found = choose(
        model, [Example(prompt, (sure,))], pad_id=0, autocast=None, merge=True, notice=notices.append
    )

    assert gradient(model, examples=[Example(prompt, (sure,))])[1:].norm() == 0
    assert (found.way.name, notices) == ("tree", [])
