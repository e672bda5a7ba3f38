"""Training: the textbook's loss, and the same weights however often a run is stopped."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from mixsd.config import LoraConfig, TrainConfig
from mixsd.decoding.rows import logits_alone, shared_prefix
from mixsd.durable import sha256_of_file
from mixsd.errors import ConfigError, CorruptError, DivergedError, NoSupervisionError
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.progress import Progress, StopRequested
from mixsd.training import checkpoint, lora
from mixsd.training.batches import Batch, Example, lay_out, order_of
from mixsd.training.loop import Hooks, Trained, train_adapter
from mixsd.training.loss import logits_of, summed_loss

CONFIG = TrainConfig(
    lora=LoraConfig(rank=4, alpha=8), epochs=3, batch_size=4, warmup_steps=2, stop_when_learned=False
)
EXAMPLES = [
    Example(tuple(range(5, 9 + place)), tuple(range(30 + place, 34 + 2 * place))) for place in range(6)
]
DIGEST = "d" * 64


NewBase = Callable[[], Base]


@pytest.fixture
def new_base(tiny_cache: Path) -> NewBase:
    """Models of their own: training leaves an adapter on the one it was given."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return lambda: load_base(found, device="cpu")


@pytest.fixture
def base(new_base: NewBase) -> Base:
    return new_base()


def train(base: Base, work: Path, config: TrainConfig = CONFIG, **options: object) -> Trained:
    return train_adapter(base, EXAMPLES, config, work=work, input_sha256=DIGEST, **options)  # type: ignore[arg-type]


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in lora.weights_of(trained.model).items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def a_batch(examples: list[Example]) -> Batch:
    return lay_out(examples, pad_id=0, device=torch.device("cpu"))


def test_only_target_tokens_count_and_each_is_judged_by_the_column_before_it() -> None:
    batch = a_batch([Example((3, 7), (1, 4)), Example((5,), (6,))])
    certain = torch.full((2, 3, 8), -1e4)
    certain[0, 0, 1] = certain[0, 1, 4] = 0.0  # behind the prompt comes 1, behind that 4
    certain[1, 1, 6] = 0.0

    assert batch.scored == 3
    assert summed_loss(certain, batch).item() == pytest.approx(0.0)
    certain[1, 1, 6] = -1.0
    certain[1, 1, 2] = -1.0
    assert summed_loss(certain, batch).item() == pytest.approx(0.6931, abs=1e-3)


def test_the_loss_is_that_of_the_unpadded_sequences(base: Base) -> None:
    model = lora.attach(base, CONFIG.lora, seed=0)
    batch = a_batch(EXAMPLES)
    with torch.inference_mode():
        together = summed_loss(logits_of(model, batch), batch).item()

    alone = 0.0
    for example in EXAMPLES:
        kept = len(example.target) + 1
        scores = logits_alone(base.model, [*example.prompt, *example.target], last=kept)[:-1]
        alone -= scores.log_softmax(-1)[range(kept - 1), list(example.target)].sum().item()

    assert together == pytest.approx(alone, rel=1e-5)


def test_a_shared_prefix_gives_the_gradient_of_the_whole_batch(base: Base) -> None:
    model = lora.attach(base, CONFIG.lora, seed=0)
    torch.nn.Module.double(model)
    shared = shared_prefix(model, [example.prompt for example in EXAMPLES])
    with torch.no_grad():  # B starts at zero, which would hide half of the gradient
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    gradients = []
    for prefix in (0, shared):
        model.zero_grad()
        batch = lay_out(EXAMPLES, pad_id=0, device=torch.device("cpu"), shared=prefix)
        summed_loss(logits_of(model, batch), batch).backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])

    assert shared == 3
    assert len(gradients[0]) == len(gradients[1]) > 0
    for whole, split in zip(*gradients, strict=True):
        # The model's own norms compute in float32 whatever its weights are.
        assert (whole - split).abs().max() <= 1e-6 * whole.abs().max()


def test_training_lowers_the_loss_and_leaves_the_base_alone(base: Base, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

    trained = train(base, tmp_path, replace(CONFIG, epochs=8, learning_rate=1e-2))

    assert trained.losses[-1] < trained.losses[0] * 0.8
    lora.detach(trained.model)
    after = base.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(base: Base, tmp_path: Path) -> None:
    runs = []
    for seed in (0, 0, 1):
        trained = train(base, tmp_path, replace(CONFIG, seed=seed))
        runs.append(weights(trained))
        lora.detach(trained.model)

    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("stop", [1, 3, 5, 6])
def test_a_run_stopped_at_any_step_ends_with_the_same_weights(
    new_base: NewBase, tmp_path: Path, stop: int, dropout: float
) -> None:
    config = replace(CONFIG, lora=replace(CONFIG.lora, dropout=dropout))
    straight = weights(train(new_base(), tmp_path / "straight", config))

    def stop_at(progress: Progress) -> None:
        if progress.done == stop:
            raise StopRequested

    with pytest.raises(StopRequested):
        train(new_base(), tmp_path / "stopped", config, hooks=Hooks(on_progress=stop_at))
    folders = checkpoint.newest(list((tmp_path / "stopped").iterdir()))
    steps: list[int] = []
    trained = train(
        new_base(),
        tmp_path / "stopped",
        config,
        resume=folders,
        hooks=Hooks(on_progress=lambda progress: steps.append(progress.done)),
    )

    assert steps[0] == stop
    assert trained.steps == 6
    assert equal(weights(trained), straight)


def test_micro_batches_change_nothing_but_rounding(base: Base, tmp_path: Path) -> None:
    whole = train(base, tmp_path / "a")
    losses = whole.losses
    lora.detach(whole.model)

    parts = train(base, tmp_path / "b", replace(CONFIG, micro_batch=1))

    assert parts.losses == pytest.approx(losses, rel=1e-5)


def test_a_stored_adapter_gives_peft_the_same_logits(base: Base, tmp_path: Path) -> None:
    trained = train(base, tmp_path / "work", replace(CONFIG, learning_rate=1e-2))
    lora.save_adapter(trained.model, tmp_path)
    trained.model.eval()
    with torch.inference_mode():
        ours = trained.model(torch.tensor([[5, 6, 7, 8]])).logits

    fresh = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    plain = PeftModel.from_pretrained(fresh, str(tmp_path))

    with torch.inference_mode():
        assert torch.allclose(plain(torch.tensor([[5, 6, 7, 8]])).logits, ours, atol=1e-5)
    config = json.loads((tmp_path / lora.CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("tiny/random", "r1")


def test_it_stops_once_everything_is_learned(base: Base, tmp_path: Path) -> None:
    asked: list[int] = []

    def learned(model: PeftModel) -> bool:
        asked.append(model.training)
        return len(asked) == 2

    config = replace(CONFIG, epochs=40, learning_rate=2e-2, stop_when_learned=True)
    trained = train(base, tmp_path, config, hooks=Hooks(learned=learned))

    assert trained.stopped_early
    assert asked == [False, False]
    assert trained.epochs < 40


def test_max_steps_ends_early(base: Base, tmp_path: Path) -> None:
    assert train(base, tmp_path, replace(CONFIG, max_steps=4)).steps == 4


def test_a_loss_that_is_not_finite_is_named(base: Base, tmp_path: Path) -> None:
    with torch.no_grad():
        base.model.get_parameter("model.embed_tokens.weight")[7] = float("nan")

    with pytest.raises(DivergedError, match="learning_rate"):
        train(base, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_train_on_is_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(NoSupervisionError):
        train_adapter(base, [], CONFIG, work=tmp_path, input_sha256=DIGEST)


def test_unknown_target_modules_are_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        train(base, tmp_path, replace(CONFIG, lora=LoraConfig(target_modules=("nonsense",))))


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


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "optimizer.safetensors").unlink(),
        lambda folder: (folder / "more").write_text("x"),
        lambda folder: (folder / "state.json").write_text("{}"),
        lambda folder: (folder / "MANIFEST.json").write_text("{"),
        lambda folder: flip_a_byte(folder / "adapter.safetensors"),
    ],
    ids=["missing", "too-many", "changed", "no-manifest", "flipped"],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    new_base: NewBase, tmp_path: Path, damage: Damage
) -> None:
    straight = weights(train(new_base(), tmp_path, replace(CONFIG, checkpoint_seconds=0)))
    folders = checkpoint.newest(list(tmp_path.iterdir()))
    damage(folders[0])
    steps: list[int] = []

    with pytest.raises(CorruptError):
        checkpoint.verify(folders[0])
    trained = train(
        new_base(),
        tmp_path,
        resume=folders,
        hooks=Hooks(on_progress=lambda progress: steps.append(progress.done)),
    )

    assert steps[0] == 5
    assert equal(weights(trained), straight)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_of_other_targets_is_passed_over(new_base: NewBase, tmp_path: Path) -> None:
    train(new_base(), tmp_path)
    steps: list[int] = []

    train_adapter(
        new_base(),
        EXAMPLES,
        CONFIG,
        work=tmp_path / "other",
        input_sha256="e" * 64,
        resume=[tmp_path / "checkpoint-6"],
        hooks=Hooks(on_progress=lambda progress: steps.append(progress.done)),
    )

    assert steps[0] == 0


def test_equal_checkpoints_have_equal_bytes(base: Base, tmp_path: Path) -> None:
    for name in ("a", "b"):
        trained = train(base, tmp_path / name)
        lora.detach(trained.model)

    digests = [sha256_of_file(tmp_path / name / "checkpoint-6" / "optimizer.safetensors") for name in "ab"]
    assert digests[0] == digests[1]


def test_the_order_of_an_epoch_is_a_function_of_its_seed() -> None:
    assert sorted(order_of(9, seed=0, epoch=0)) == list(range(9))
    assert order_of(9, seed=0, epoch=0) == order_of(9, seed=0, epoch=0)
    assert order_of(9, seed=0, epoch=0) != order_of(9, seed=0, epoch=1)
