"""The vectors of facts: what they make the model say, and how far they may go."""

from dataclasses import replace

import pytest
import torch

from mixsd.config import MemitConfig
from mixsd.decoding.rows import logits_alone
from mixsd.editing import target
from mixsd.editing.layers import EditedLayer, added, edited_layers
from mixsd.editing.memit import edits_of
from mixsd.editing.target import ENOUGH, Edit, Rows, Sought, seek
from mixsd.errors import DivergedError, OutOfMemoryError
from mixsd.models.load import Base
from tests.mixsd.editing.conftest import FACTS, LOOSE, memit, supervised

CONFIG = replace(MemitConfig(**LOOSE), v_steps=40)


@pytest.fixture(scope="module")
def edits(base: Base) -> list[Edit]:
    return edits_of(base, FACTS, supervised(base, memit()), CONFIG)


@pytest.fixture(scope="module")
def layer(base: Base) -> EditedLayer:
    return edited_layers(base, CONFIG)[-1]


@pytest.fixture(scope="module")
def sought(base: Base, edits: list[Edit], layer: EditedLayer) -> Sought:
    return seek(base, edits, layer, CONFIG)


def nll_alone(base: Base, each: Edit, layer: EditedLayer, vector_D: torch.Tensor) -> float:
    """Return the mean NLL of a target with a vector on what the MLP puts out, one row by itself."""
    ids = [*each.example.prompt, *each.example.target]
    with added(base.model.get_submodule(layer.path), vector_D[None], torch.tensor([each.place])):
        logits_TV = logits_alone(base.model, ids, last=len(each.example.target) + 1)[:-1]
    chosen = logits_TV.log_softmax(-1)[range(len(each.example.target)), list(each.example.target)]
    return float(-chosen.mean())


def hidden_of(base: Base, edits: list[Edit], layer: EditedLayer) -> torch.Tensor:
    rows = Rows(base, edits)
    return rows.looked_up(rows.untouched(layer)[0])


def test_they_make_every_target_likelier_as_far_as_their_losses_say(
    base: Base, edits: list[Edit], layer: EditedLayer, sought: Sought
) -> None:
    vectors_ND = sought.hidden_ND - hidden_of(base, edits, layer)
    before = [nll_alone(base, each, layer, torch.zeros(64)) for each in edits]
    after = [nll_alone(base, *each) for each in zip(edits, [layer] * len(edits), vectors_ND, strict=True)]

    assert all(late < early - 0.5 for early, late in zip(before, after, strict=True))
    assert sought.losses[0] == pytest.approx(sum(before) / len(before), rel=1e-4)
    assert sought.losses[-1] == pytest.approx(sum(after) / len(after), rel=1e-4)
    assert len(sought.losses) == CONFIG.v_steps


def test_a_vector_does_not_depend_on_those_sought_beside_it(
    base: Base, edits: list[Edit], layer: EditedLayer, sought: Sought, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_TOGETHER", 1)
    alone = seek(base, edits, layer, CONFIG)

    assert torch.allclose(alone.hidden_ND, sought.hidden_ND, atol=1e-2)
    assert alone.losses == pytest.approx(sought.losses, rel=1e-3)


@pytest.mark.parametrize("clamp", [0.01, 0.3])
def test_no_vector_is_longer_than_it_may_be(
    base: Base, edits: list[Edit], layer: EditedLayer, clamp: float
) -> None:
    hidden_ND = hidden_of(base, edits, layer)

    found = seek(base, edits, layer, replace(CONFIG, clamp=clamp))

    lengths_N = (found.hidden_ND - hidden_ND).norm(dim=1) / hidden_ND.norm(dim=1)
    assert lengths_N == pytest.approx([clamp] * len(edits), rel=1e-3)


def test_a_heavy_kl_holds_what_follows_the_lookup_token(
    base: Base, edits: list[Edit], layer: EditedLayer
) -> None:
    def moved(kl_weight: float) -> float:
        found = seek(base, edits, layer, replace(CONFIG, kl_weight=kl_weight))
        rows = Rows(base, edits)
        outputs_BTD, first_BV = rows.untouched(layer)
        vectors_BD = found.hidden_ND - rows.looked_up(outputs_BTD)
        now_BV = rows.scored_from(layer, outputs_BTD, vectors_BD).looked_BV
        return float((now_BV.exp() * (now_BV - first_BV)).sum(-1).mean())

    assert moved(100.0) < 0.2 * moved(0.0)


def test_a_fact_that_is_answered_well_enough_is_left_as_it_is(
    base: Base, edits: list[Edit], layer: EditedLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [nll_alone(base, each, layer, torch.zeros(64)) for each in edits]
    second = sorted(before)[1]
    monkeypatch.setattr(target, "ENOUGH", second + 0.01)

    found = seek(base, edits, layer, CONFIG)

    still_N = (found.hidden_ND == hidden_of(base, edits, layer)).all(dim=1).tolist()
    assert [early <= second for early in before] == still_N
    vectors_ND = found.hidden_ND - hidden_of(base, edits, layer)
    after = [nll_alone(base, *each) for each in zip(edits, [layer] * len(edits), vectors_ND, strict=True)]
    assert all(late < second + 0.02 for late in after)
    assert second > ENOUGH  # as it is, none would have been left


def test_steps_without_end_are_told_of(base: Base, edits: list[Edit], layer: EditedLayer) -> None:
    told: list[float] = []

    found = seek(base, edits, layer, replace(CONFIG, v_steps=3), on_step=told.append)

    assert told == pytest.approx(found.losses)
    assert len(told) == 3


def test_a_loss_that_is_not_finite_says_so(
    base: Base, edits: list[Edit], layer: EditedLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched = Rows.untouched

    def broken(self: Rows, layer: EditedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        outputs_BTD, first_BV = untouched(self, layer)
        return outputs_BTD * float("nan"), first_BV

    monkeypatch.setattr(Rows, "untouched", broken)
    with pytest.raises(DivergedError, match="at step 1 the loss of a target vector is nan: lower v_lr"):
        seek(base, edits, layer, CONFIG)


def test_where_memory_runs_out_fewer_are_sought_side_by_side(
    base: Base, edits: list[Edit], layer: EditedLayer, sought: Sought, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched = Rows.untouched

    def small(most: int) -> None:
        def run_out(self: Rows, layer: EditedLayer) -> tuple[torch.Tensor, torch.Tensor]:
            if len(self.places_B) > most:
                raise torch.OutOfMemoryError
            return untouched(self, layer)

        monkeypatch.setattr(Rows, "untouched", run_out)

    small(1)
    assert torch.allclose(seek(base, edits, layer, CONFIG).hidden_ND, sought.hidden_ND, atol=1e-2)
    small(0)
    with pytest.raises(OutOfMemoryError, match="not even one fact"):
        seek(base, edits, layer, CONFIG)
