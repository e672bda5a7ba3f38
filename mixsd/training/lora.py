"""Put an adapter on a base model, and read and write its weights in the format of peft."""

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor

from mixsd.config import LoraConfig
from mixsd.errors import ConfigError, CorruptError, ModelError
from mixsd.models.check import check_safetensors, read_object
from mixsd.models.fitting import check_template
from mixsd.models.load import Base
from mixsd.packaging import MANIFEST

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"

_SHAPE: Final = {
    "r": "rank",
    "lora_alpha": "alpha",
    "use_dora": "dora",
    "use_rslora": "rslora",
    "target_modules": "target_modules",
    "layers_to_transform": "target_modules",
}
"""What decides the shape of an adapter and what its weights mean: peft's name, and that of our setting."""

_NUMBER: Final = re.compile(r"\.(\d+)\.")
"""Of a layer, in its path."""


def attach(base: Base, config: LoraConfig, *, seed: int, start: Path | None = None) -> PeftModel:
    """Return the base model with a fresh adapter, whose weights are a function of the seed.

    Args:
        base: The base model, without an adapter on it.
        config: Shape of the adapter.
        seed: Names the weights.
        start: Folder of a stored adapter of that shape, whose weights it gets instead.

    Raises:
        ConfigError: The base model has no such layers, they are too small for the rank, or the stored
            adapter is of another shape.
        UnsafeWeightsError: Its weights are no sound safetensors file.
    """
    peft_config = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float does as well
        lora_dropout=config.dropout,
        target_modules=_layers(base, config.target_modules),
        use_dora=config.dora,
        use_rslora=config.rslora,
        task_type="CAUSAL_LM",
    )
    with seeded(seed):
        try:
            model = get_peft_model(base.model, peft_config, autocast_adapter_dtype=True)
        except ValueError as error:
            raise ConfigError(f"target_modules {', '.join(config.target_modules)}: {error}") from error
    _check_rank(model, config.rank)
    if start is not None:
        _start_from(model, start)
    return _named(base, model)


@contextmanager
def on_layers(base: Base, paths: Sequence[str], rank: int) -> Generator[PeftModel]:
    """Give the base model an adapter that changes nothing yet, on layers of a stack alone.

    It stays on the model unless the block raises: then it is taken off.

    Args:
        base: The base model, without an adapter on it.
        paths: Of linear layers, such as `model.layers.3.mlp.down_proj`: those of one name.
        rank: Of all of them. The scale is 1.
    """
    numbers = sorted(int(found[-1]) for path in paths if (found := _NUMBER.findall(path)))
    peft_config = PeftLoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted({path.rpartition(".")[2] for path in paths}),
        layers_to_transform=numbers,
        task_type="CAUSAL_LM",
    )
    with seeded(0):  # what is drawn is overwritten, and other draws are left as they are
        model = _named(base, get_peft_model(base.model, peft_config, autocast_adapter_dtype=True))
    try:
        for path in paths:
            set_factors(model, path)
        yield model
    except BaseException:
        detach(model)
        raise


@torch.no_grad()
def set_factors(
    model: PeftModel, path: str, left_OR: Tensor | None = None, right_RI: Tensor | None = None
) -> None:
    """Make the change of a layer `left_OR @ right_RI`, or none; what they lack of its rank is zero."""
    layer: Any = model.get_base_model().get_submodule(path)
    up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    up.zero_()
    down.zero_()
    if left_OR is not None and right_RI is not None:
        up[:, : left_OR.shape[1]] = left_OR.to(up)
        down[: len(right_RI)] = right_RI.to(down)


def _named(base: Base, model: PeftModel) -> PeftModel:
    """Name the base: peft names the folder that it was loaded from, which means nothing elsewhere."""
    model.peft_config["default"].base_model_name_or_path = base.hub_id or base.id
    model.peft_config["default"].revision = base.revision
    return model


def _layers(base: Base, names: tuple[str, ...]) -> list[str]:
    """Return the names that peft is to look for, and no pattern, since engines read them too.

    Raises:
        ConfigError: There is no layer of that name, or `mlp` was asked for, and the model's
            feed-forward blocks are not called that.
    """
    paths = [path for path, _ in base.model.named_modules()]
    if names not in {("mlp",), ("all-linear",)}:
        for name in names:
            if not any(path == name or path.endswith(f".{name}") for path in paths):
                known = ", ".join(sorted({path.rpartition(".")[2] for path in _linear(base)}))
                raise ConfigError(
                    f"target_modules: {base.id} has no layer {name}; its linear ones are {known}"
                )
        return list(names)
    chosen = {path for path in _linear(base) if names == ("all-linear",) or ".mlp." in path}
    if not chosen:
        raise ConfigError(f"target_modules: {base.id} has no layers under `mlp`; use all-linear or name them")
    return sorted({path.rpartition(".")[2] for path in chosen})


def _linear(base: Base) -> set[str]:
    """Return the paths of the linear layers but the head."""
    head = base.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return {
        path
        for path, module in base.model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def _check_rank(model: PeftModel, rank: int) -> None:
    """Refuse a rank that a layer cannot have; the adapter is taken off then.

    Raises:
        ConfigError: Says which layer is too small.
    """
    for path, layer in model.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            side = min(int(layer.in_features or rank), int(layer.out_features or rank))
            if rank > side:
                model.unload()
                raise ConfigError(
                    f"rank {rank} is above the smaller side of the layer {path}, which is {side}: "
                    "lower rank, or leave that layer out of target_modules"
                )


def detach(model: PeftModel) -> None:
    """Take the adapter off again: the base model is as it was before `attach`."""
    model.unload()


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Run with torch's random state set from a seed, and put it back afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def weights_of(model: PeftModel) -> dict[str, Tensor]:
    """Return the adapter's tensors by the names that peft gives them in a file."""
    state: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().contiguous().cpu() for name, tensor in sorted(state.items())}


def set_weights(model: PeftModel, weights: dict[str, Tensor]) -> None:
    """Give the adapter these weights, all of them.

    Raises:
        CorruptError: Names or shapes are not those of this adapter.
    """
    wanted = {name: tensor.shape for name, tensor in weights_of(model).items()}
    if wanted != {name: tensor.shape for name, tensor in weights.items()}:
        raise CorruptError("the weights are not those of an adapter of this shape")
    set_peft_model_state_dict(model, weights)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the two files that `PeftModel.from_pretrained` needs, weights as safetensors."""
    save_file(weights_of(model), folder / WEIGHTS, metadata={"format": "pt"})
    config: Any = model.peft_config["default"]
    inference = config.inference_mode
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.inference_mode = inference


def load_adapter(base: Base, folder: Path) -> PeftModel:
    """Return the base model with a stored adapter on it, for asking.

    Raises:
        UnsafeWeightsError: Its weights are no sound safetensors file. No other format is looked for.
        TemplateMismatchError: By its manifest, if one lies there, it learned other prompts.
        ModelError: It does not fit the base model, which is of no use any more.
    """
    check_safetensors(folder / WEIGHTS)
    if (folder / MANIFEST).is_file():
        check_template(read_object(folder / MANIFEST), base)
    try:
        return PeftModel.from_pretrained(base.model, str(folder))
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"the adapter does not fit {base.id}: {error}") from error


def _start_from(model: PeftModel, folder: Path) -> None:
    """Give a fresh adapter the weights of a stored one. It is taken off if they do not fit.

    Raises:
        ConfigError: That is of another shape; says which setting differs.
        UnsafeWeightsError: Its weights are no sound safetensors file.
        CorruptError: They are not those that its config tells of.
    """
    try:
        check_safetensors(folder / WEIGHTS)
        _check_shape(model, read_object(folder / CONFIG))
        set_weights(model, load_weights(folder / WEIGHTS))
    except BaseException:
        detach(model)
        raise


def _check_shape(model: PeftModel, stored: Mapping[str, Any]) -> None:
    own = model.peft_config["default"].to_dict()
    for name, setting in _SHAPE.items():
        here, there = _plain(own.get(name)), _plain(stored.get(name))
        if here != there:
            raise ConfigError(
                f"training.{setting}: the adapter to start from has {there}, and this run {here}: leave the "
                "setting out to take that of the adapter, or train without a parent"
            )


def _plain(value: Any) -> Any:
    """Return a setting of peft in a form that compares: layers in any order, and nothing as none."""
    return sorted(value) if isinstance(value, set | list | tuple) else value or None


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors from a safetensors file.

    Raises:
        CorruptError: It is no such file.
    """
    try:
        return load_file(path)
    except Exception as error:
        raise CorruptError(f"{path.name} is no safetensors file: {error}") from error


@contextmanager
def merged(model: PeftModel, *, exact: bool = False) -> Generator[None]:
    """Add the adapter to the weights while the body runs, which makes answering as fast as the base.

    Afterwards the base weights may differ from before in the last bit, unless `exact`: then those of
    the adapted layers are kept on the CPU meanwhile, and put back.
    """
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    weights: list[Tensor] = [layer.get_base_layer().weight for layer in layers]
    before = [weight.detach().to("cpu", copy=True) for weight in weights] if exact else []
    model.merge_adapter()
    try:
        yield
    finally:
        model.unmerge_adapter()
        with torch.no_grad():
            for weight, kept in zip(weights, before, strict=False):
                weight.copy_(kept)
