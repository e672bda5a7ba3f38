"""What cannot be trained is refused before anything is done, with what to set instead."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mixsd.config import LoraConfig, TrainConfig
from mixsd.errors import ConfigError, NoSupervisionError
from mixsd.models.load import Base
from mixsd.training import lora
from mixsd.training.hooks import Hooks
from tests.mixsd.training.driving import CONFIG, EXAMPLES, train


def test_nothing_to_train_on_is_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(NoSupervisionError):
        train(base, tmp_path, examples=[])


def test_a_source_that_writes_nothing_is_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(NoSupervisionError, match="step 1"):
        train(base, tmp_path, source=lambda *_: [])


@pytest.mark.parametrize("names", [("nonsense",), ("q_proj", "nonsense"), ("proj",)])
def test_target_modules_that_match_nothing_are_named_with_those_there_are(
    base: Base, tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=rf"no layer {names[-1]}; .*q_proj"):
        train(base, tmp_path, replace(CONFIG, lora=LoraConfig(target_modules=names)))


def test_a_layer_that_cannot_be_adapted_is_named(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="input_layernorm"):
        train(base, tmp_path, replace(CONFIG, lora=LoraConfig(target_modules=("input_layernorm",))))


@pytest.mark.parametrize(("rank", "names"), [(65, ("mlp",)), (33, ("all-linear",)), (33, ("k_proj",))])
def test_a_rank_above_a_layer_is_refused_and_the_model_left_alone(
    base: Base, tmp_path: Path, rank: int, names: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=rf"rank {rank} is above .* which is {rank - 1}"):
        train(base, tmp_path, replace(CONFIG, lora=LoraConfig(rank=rank, target_modules=names)))

    assert not any("lora" in name for name, _ in base.model.named_modules())
    lora.attach(base, LoraConfig(rank=rank - 1, target_modules=names), seed=0)


@pytest.mark.parametrize("rate", [0.0, -1e-4, float("nan")])
def test_a_learning_rate_must_be_above_zero(rate: float) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        TrainConfig(learning_rate=rate)


def test_a_batch_larger_than_the_data_takes_all_of_it_and_says_so(base: Base, tmp_path: Path) -> None:
    notices: list[str] = []

    trained = train(
        base, tmp_path / "a", replace(CONFIG, batch_size=64), hooks=Hooks(on_notice=notices.append)
    )
    lora.detach(trained.model)
    fitting = train(
        base, tmp_path / "b", replace(CONFIG, batch_size=6), hooks=Hooks(on_notice=notices.append)
    )

    assert trained.losses == fitting.losses
    assert len(trained.losses) == 3
    assert [notice for notice in notices if "batch_size is 64" in notice and "6 texts" in notice] == notices
    assert len(EXAMPLES) == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused on devices other than CUDA")
@pytest.mark.parametrize(
    "options", [{"precision": "bf16"}, {"compile_layers": True}, {"quantize": "nf4"}], ids=str
)
def test_what_needs_a_gpu_is_refused_elsewhere_with_what_to_set(
    base: Base, tmp_path: Path, options: dict[str, object]
) -> None:
    name = next(iter(options))

    with pytest.raises(ConfigError, match=rf"{name}.*CUDA.*cpu.*set {name}"):
        train(base, tmp_path, replace(CONFIG, **options))  # type: ignore[arg-type]
    assert not any("lora" in path for path, _ in base.model.named_modules())
