"""Whole runs: the same weights however often one is stopped, and a base model that is left alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from mixsd.config import LoraConfig, RetentionConfig
from mixsd.errors import DivergedError
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested, silent
from mixsd.training import checkpoint, lora
from mixsd.training.batches import Example, order_of
from mixsd.training.hooks import Hooks
from mixsd.training.schedule import planned_steps, rate_of_width
from tests.mixsd.training.conftest import NewBase
from tests.mixsd.training.driving import CONFIG, EXAMPLES, RATE, equal, soft, train, weights


def test_training_lowers_the_loss_and_leaves_the_base_alone(base: Base, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

    trained = train(base, tmp_path, replace(CONFIG, epochs=8, learning_rate=1e-2))

    assert trained.losses[-1] < trained.losses[0] * 0.8
    lora.detach(trained.model)
    after = base.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert base.model.config._attn_implementation == "sdpa"  # noqa: SLF001


def test_a_rate_that_is_left_open_is_that_of_the_models_width(new_base: NewBase, tmp_path: Path) -> None:
    found = []
    for given in (None, rate_of_width(new_base().model.config.hidden_size), 1e-4):
        trained = train(new_base(), tmp_path / str(given), replace(CONFIG, learning_rate=given))
        found.append((trained.losses, weights(trained)))
        assert trained.learning_rate == (given or rate_of_width(new_base().model.config.hidden_size))

    assert found[0][0] == found[1][0] != found[2][0]
    assert equal(found[0][1], found[1][1])


def test_a_multiplier_is_of_the_rate_that_is_taken(new_base: NewBase, tmp_path: Path) -> None:
    open_rate = replace(CONFIG, learning_rate=None, learning_rate_multiplier=0.5)
    rate = rate_of_width(new_base().model.config.hidden_size) / 2

    found = [
        train(new_base(), tmp_path / str(place), config)
        for place, config in enumerate((open_rate, replace(CONFIG, learning_rate=rate)))
    ]

    assert [trained.learning_rate for trained in found] == [rate, rate]
    assert equal(weights(found[0]), weights(found[1]))


def test_beside_the_kl_an_open_rate_is_twice_that_but_not_from_a_parent(
    new_base: NewBase, tmp_path: Path
) -> None:
    config = replace(CONFIG, learning_rate=None, retention=RetentionConfig("kl"))
    plain = rate_of_width(new_base().model.config.hidden_size)
    parent, heard = tmp_path / "parent", []
    parent.mkdir()
    hooks = Hooks(on_metrics=lambda _, measured: heard.append(measured["learning_rate"]))

    fresh = train(new_base(), tmp_path / "fresh", config, hooks=hooks)
    lora.save_adapter(fresh.model, parent)
    led_on = train(new_base(), tmp_path / "on", config, hooks=hooks, start=parent)

    assert (fresh.learning_rate, led_on.learning_rate) == (2 * plain, plain)
    assert (max(heard[: fresh.steps]), max(heard[fresh.steps :])) == (2 * plain, plain)


def test_the_loss_is_that_of_plain_training_with_peft(new_base: NewBase, tmp_path: Path) -> None:
    """The textbook, written out: rows, the model's own loss, AdamW, a constant rate after a rise."""
    rate = 5e-3
    config = replace(CONFIG, epochs=10, learning_rate=rate)
    model = lora.attach(new_base(), config.lora, seed=config.seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    losses = []
    for step in range(20):
        order = order_of(6, seed=0, epoch=step // 2)[step % 2 * 4 :][:4]
        texts = [[*EXAMPLES[i].prompt, *EXAMPLES[i].target] for i in order]
        width = max(map(len, texts))
        labels = [
            [-100] * len(EXAMPLES[i].prompt) + [*EXAMPLES[i].target] + [-100] * (width - len(text))
            for i, text in zip(order, texts, strict=True)
        ]
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 2)
        output = model(
            input_ids=torch.tensor([text + [0] * (width - len(text)) for text in texts]),
            attention_mask=torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts]),
            labels=torch.tensor(labels),
        )
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.clip)
        optimizer.step()
        losses.append(output.loss.item())

    assert train(new_base(), tmp_path, config).losses == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < losses[0] - 1


def test_the_same_seed_gives_the_same_weights_and_another_one_others(base: Base, tmp_path: Path) -> None:
    runs = []
    for seed in (0, 0, 1):
        trained = train(base, tmp_path, replace(CONFIG, seed=seed))
        runs.append(weights(trained))
        lora.detach(trained.model)

    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_draws_of_others_do_not_matter(new_base: NewBase, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = weights(train(new_base(), tmp_path / "a"))
    torch.manual_seed(2)

    assert equal(weights(train(new_base(), tmp_path / "b")), first)


def written(model: PeftModel, step: int, chosen: Sequence[int]) -> Sequence[Example]:
    """A source that depends on the step, on the items and on what the model is by now."""
    model_says = int(model(torch.tensor([[5, 6, 7]])).logits[0, -1].argmax())
    return [
        Example((*EXAMPLES[i].prompt, 40 + step), (model_says, 50 + i, 60), 1.0 + i, soft(3, i))
        for i in chosen
    ]


@pytest.mark.parametrize("source", [None, written], ids=["given", "written"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("stop", range(1, 7))
def test_a_run_stopped_at_any_step_ends_with_the_same_weights(
    new_base: NewBase, tmp_path: Path, stop: int, dropout: float, source: Any
) -> None:
    config = replace(CONFIG, lora=replace(CONFIG.lora, dropout=dropout))
    straight = train(new_base(), tmp_path / "straight", config, source=source)

    def stop_at(progress: Progress) -> None:
        if progress.done == stop:
            raise StopRequested

    with pytest.raises(StopRequested):
        train(new_base(), tmp_path / "stopped", config, hooks=Hooks(on_progress=stop_at), source=source)
    folders = checkpoint.newest(list((tmp_path / "stopped").iterdir()))
    steps: list[int] = []
    trained = train(
        new_base(),
        tmp_path / "stopped",
        config,
        resume=folders,
        hooks=Hooks(on_progress=lambda progress: steps.append(progress.done)),
        source=source,
    )

    assert steps[0] == stop
    assert trained.steps == 6
    assert trained.losses == straight.losses
    assert equal(weights(trained), weights(straight))


def test_a_source_is_asked_once_a_step_for_its_items_in_order(base: Base, tmp_path: Path) -> None:
    asked: list[tuple[int, list[int], bool]] = []

    def source(model: PeftModel, step: int, chosen: Sequence[int]) -> Sequence[Example]:
        asked.append((step, list(chosen), model.training))
        return [EXAMPLES[i] for i in chosen]

    made = train(base, tmp_path / "a", source=source)
    lora.detach(made.model)
    given = train(base, tmp_path / "b")

    assert made.losses == given.losses
    orders = [order_of(6, seed=0, epoch=epoch) for epoch in range(3)]
    wanted = [part for order in orders for part in (order[:4], order[4:])]
    assert asked == [(step, part, False) for step, part in enumerate(wanted)]


@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_micro_batches_change_nothing_but_rounding(base: Base, tmp_path: Path, micro_batch: int) -> None:
    whole = train(base, tmp_path / "a")
    lora.detach(whole.model)

    parts = train(base, tmp_path / "b", replace(CONFIG, micro_batch=micro_batch))

    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


@pytest.mark.parametrize("shape", [{}, {"rslora": True}, {"dora": True}, {"target_modules": ("all-linear",)}])
def test_a_stored_adapter_gives_peft_the_same_logits(
    base: Base, tmp_path: Path, shape: dict[str, Any]
) -> None:
    config = replace(CONFIG, learning_rate=1e-2, lora=replace(CONFIG.lora, **shape))
    trained = train(base, tmp_path / "work", config)
    lora.save_adapter(trained.model, tmp_path)
    trained.model.eval()
    with torch.inference_mode():
        ours = trained.model(torch.tensor([[5, 6, 7, 8]])).logits

    fresh = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    plain = PeftModel.from_pretrained(fresh, str(tmp_path))

    with torch.inference_mode():
        assert torch.allclose(plain(torch.tensor([[5, 6, 7, 8]])).logits, ours, atol=1e-5)
    stored = json.loads((tmp_path / lora.CONFIG).read_text())
    assert (stored["base_model_name_or_path"], stored["revision"]) == ("tiny/random", "r1")
    assert (stored["use_dora"], stored["use_rslora"]) == (config.lora.dora, config.lora.rslora)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 6),
        ({"min_steps": 5}, 6),
        ({"min_steps": 9}, 9),
        ({"max_steps": 4}, 4),
        ({"min_steps": 9, "max_steps": 4}, 4),
        ({"min_steps": 9, "max_steps": 40}, 9),
    ],
)
def test_there_are_enough_steps_however_few_the_texts(
    base: Base, tmp_path: Path, options: dict[str, int], steps: int
) -> None:
    config = replace(CONFIG, **options)  # type: ignore[arg-type]

    trained = train(base, tmp_path, config)

    assert trained.steps == planned_steps(6, config) == steps
    assert trained.epochs == (steps + 1) // 2


def test_a_loss_that_is_not_finite_is_named_with_the_step_and_the_last_good_checkpoint(
    base: Base, tmp_path: Path
) -> None:
    def spoil(progress: Progress) -> None:
        if progress.done == 3:
            with torch.no_grad():
                next(p for p in base.model.parameters() if p.requires_grad).fill_(float("nan"))

    with pytest.raises(DivergedError, match=r"at step 4 the loss is nan.*learning_rate.*checkpoint-3"):
        train(base, tmp_path, replace(CONFIG, checkpoint_seconds=0), hooks=Hooks(on_progress=spoil))

    assert {path.name for path in tmp_path.iterdir()} >= {"checkpoint-3"}
    checkpoint.verify(tmp_path / "checkpoint-3")
    assert not (tmp_path / "checkpoint-4").exists()


def test_before_the_first_checkpoint_it_says_that_there_is_none(base: Base, tmp_path: Path) -> None:
    with torch.no_grad():
        base.model.get_parameter("model.embed_tokens.weight")[7] = float("nan")

    with pytest.raises(DivergedError, match=r"at step 1 .*last good checkpoint: none"):
        train(base, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("mlp",), {"down_proj", "gate_proj", "up_proj"}),
        (("all-linear",), {"down_proj", "gate_proj", "up_proj", "q_proj", "k_proj", "v_proj", "o_proj"}),
        (("q_proj",), {"q_proj"}),
    ],
)
def test_layers_are_written_by_name(
    base: Base, tmp_path: Path, asked: tuple[str, ...], expected: set[str]
) -> None:
    lora.save_adapter(lora.attach(base, LoraConfig(target_modules=asked), seed=0), tmp_path)

    assert set(json.loads((tmp_path / lora.CONFIG).read_text())["target_modules"]) == expected


def test_the_order_of_an_epoch_is_a_function_of_its_seed() -> None:
    assert sorted(order_of(9, seed=0, epoch=0)) == list(range(9))
    assert order_of(9, seed=0, epoch=0) == order_of(9, seed=0, epoch=0)
    assert order_of(9, seed=0, epoch=0) != order_of(9, seed=0, epoch=1)


def test_every_step_is_measured_once_before_its_checkpoint_however_often_a_run_is_stopped(
    new_base: NewBase, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=4, eval_every=3, checkpoint_seconds=0, schedule="linear")
    heard: list[tuple[int, dict[str, float]]] = []
    saved: list[tuple[int, int]] = []

    def stop(progress: Progress) -> None:
        if progress.done == 4:
            raise StopRequested

    hooks = Hooks(
        learned=lambda _: 0.5,
        drift=lambda model: 0.25 + model.training,
        on_metrics=lambda step, measured: heard.append((step, dict(measured))),
        on_checkpoint=lambda saving: saved.append((saving.step, len(heard))),
        on_progress=stop,
    )
    with pytest.raises(StopRequested):
        train(new_base(), tmp_path, config, hooks=hooks)
    folders = checkpoint.newest(list(tmp_path.glob("checkpoint-*")))
    trained = train(new_base(), tmp_path, config, hooks=replace(hooks, on_progress=silent), resume=folders)

    assert [step for step, _ in heard] == list(range(1, 9))
    assert [measured["loss"] for _, measured in heard] == list(trained.losses)
    assert [step for step, measured in heard if "recall" in measured] == [3, 6]
    assert [(step, measured["drift"]) for step, measured in heard if "drift" in measured] == [
        (3, 0.25),
        (6, 0.25),
    ]
    rates = [measured["learning_rate"] / RATE for _, measured in heard]
    assert rates == pytest.approx([1 / 2, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert all(measured["tokens_per_second"] > 0 for _, measured in heard)
    assert all(step <= so_far for step, so_far in saved)
