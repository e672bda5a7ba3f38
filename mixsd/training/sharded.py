"""The layers of the frozen base, shared out among the processes of a run while an adapter is trained.

Each process keeps a part of every weight of the layers, and gathers those of a layer whenever that is
computed, forward or backward (PyTorch's `fully_shard`, FSDP2). What stands outside of the layers
(embeddings, head, last norm) and the adapter are whole in each. So gradients are those of the whole
model, and are summed over processes as without sharding.

`fully_shard` changes modules for good. It is given twins of the model's own, which stand in their
place meanwhile and share all but the weights of the layers with them. What the first process needs
to have the whole model again lies in the memory of the machine.

Whenever one process computes a layer, all must: every pass is made by all of them, see `Shards.most`.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from peft import PeftModel
from torch import Tensor, distributed, nn
from transformers import PreTrainedModel

from mixsd.decoding.rows import LanguageModel, base_of
from mixsd.errors import ConfigError
from mixsd.progress import StopRequested
from mixsd.training.memory import checkpointed_layers
from mixsd.training.world import World

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

_GATHERED: Final = 3
"""Layers that are whole in a process at once: the one computed, the next, and one on its way."""

_PAUSE: Final = 0.001
_ASKED: Final = 1.0
"""Seconds between two looks at a GPU, and between two at the other processes."""


def check_layers(model: LanguageModel) -> None:
    """Refuse a model that cannot be sharded.

    Raises:
        ConfigError: It has no layers that are known as such.
    """
    if not _layers(_body(base_of(model))):
        kind = type(base_of(model)).__name__
        raise ConfigError(f"shard full: {kind} has no layers that can be sharded: set shard to none")


class Shards:
    """The sharded base of a run, as one process sees it.

    Attributes:
        reserve: Bytes that gathered layers take while a pass is under way.
    """

    def __init__(self, model: PeftModel, world: World, on_check: Callable[[], None] = lambda: None) -> None:
        """Shard the layers of a model with an adapter. All processes of the run must."""
        self._world = world
        self._on_check = on_check
        self._model = model
        self._base = base_of(model)
        self._own = _body(self._base)
        layers = _layers(self._own)
        self._frozen = _frozen(layers)
        self._home = self._frozen[0].device
        self.reserve = _GATHERED * max(sum(each.nbytes for each in _frozen([layer])) for layer in layers)
        for each in (*(set(model.parameters()) - set(self._frozen)), *model.buffers()):
            each.data = each.data.to(world.device)
        self._twin = self._sharded_twin()
        self._put(self._twin)

    def _sharded_twin(self) -> nn.Module:
        # Not every build of torch has them.
        from torch.distributed.device_mesh import DeviceMesh  # noqa: PLC0415
        from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

        full = {id(parameter): _copy_of(parameter) for parameter in self._frozen}
        twin = _twin(self._own, lambda parameter: full.get(id(parameter), parameter))
        full.clear()
        # From here on FSDP alone holds the weights that it has not cut up yet.
        for parameter in self._frozen:
            parameter.data = parameter.data.cpu() if self._world.first else parameter.data.new_empty(0)
        self._host = [parameter.data for parameter in self._frozen]
        mesh = DeviceMesh.from_group(distributed.group.WORLD, self._world.device.type)  # type: ignore[arg-type]
        layers = _layers(twin)
        others = set(twin.parameters()) - set(_frozen(layers))
        for layer in (*layers, twin):
            fully_shard(layer, mesh=mesh, ignored_params=others)
        return twin

    def most(self, count: int) -> int:
        """Return the largest of the numbers that the processes have."""
        return self._world.most(count)

    def wait(self) -> None:
        """Wait until a pass has ended, as long as all processes are there.

        nccl does not notice that one is gone: its share of a layer would be waited for in vain.
        """
        if self._world.device.type != "cuda":
            return
        ended = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ended.record()
        asked = time.monotonic()
        while not ended.query():  # type: ignore[no-untyped-call]
            time.sleep(_PAUSE)
            if time.monotonic() < asked + _ASKED:
                continue
            asked = time.monotonic()
            try:
                self._on_check()
            except StopRequested:
                pass  # no step is broken off; the question is asked again behind it
            except BaseException:
                _give_up()
                raise

    def forget_pass(self) -> None:
        """Be ready for another pass after one that was broken off, in all processes at the same place."""
        cast("FSDPModule", self._twin).reset_iter_state()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Have the model's own layers back within the block, in the first process; others do nothing."""
        if not self._world.first:
            yield
            return
        self._put(self._own)
        try:
            for parameter in self._frozen:
                parameter.data = parameter.data.to(self._world.device)
            yield
        finally:
            self._put(self._twin)
            self._take_back()

    def end(self) -> None:
        """Put the model's own layers back; in the first process all is where it was before."""
        self._put(self._own)
        if self._world.first:
            self._take_back()
            for each in (*self._model.parameters(), *self._model.buffers()):
                each.data = each.data.to(self._home)

    def _take_back(self) -> None:
        for parameter, weight in zip(self._frozen, self._host, strict=True):
            parameter.data = weight

    def _put(self, body: nn.Module) -> None:
        body.train(_body(self._base).training)
        setattr(self._base, self._base.base_model_prefix, body)


@contextmanager
def sharded(
    model: PeftModel, world: World, *, on_check: Callable[[], None] = lambda: None
) -> Iterator[Shards]:
    """Shard the layers of a model within the block.

    Afterwards the adapter is on the model's own layers again, in every process. Their weights are
    back in the first one alone: in others the model can no longer be computed.

    Args:
        model: The base model with an adapter. It may lie on the CPU, wherever it is computed.
        world: The processes, at least two.
        on_check: Called every second while a GPU computes. Raises if a process is lost; a request to
            stop is not heeded there.

    Raises:
        ConfigError: There is nothing to shard.
    """
    if world.size == 1:
        raise ConfigError(
            "shard full shares a model out among processes, and there is one: set shard to none, or run "
            "with a process group of several"
        )
    check_layers(model)
    shards = Shards(model, world, on_check)
    try:
        yield shards
    finally:
        shards.end()


def _give_up() -> None:
    """End what nccl has under way, which would block the GPU for ever, and with it the process group."""
    distributed.distributed_c10d._abort_process_group()  # noqa: SLF001  there is no public way yet


def _body(base: PreTrainedModel) -> nn.Module:
    """Return what stands below the head."""
    return cast("nn.Module", getattr(base, base.base_model_prefix))


def _layers(body: nn.Module) -> list[nn.Module]:
    """Return the layers of a model, and none that is within another."""
    found = checkpointed_layers(body)
    within = {id(part) for layer in found for part in layer.modules() if part is not layer}
    return [layer for layer in found if id(layer) not in within]


def _frozen(layers: list[nn.Module]) -> list[nn.Parameter]:
    """Return the weights of layers that are not trained, each once."""
    parameters = [each for layer in layers for each in layer.parameters() if not each.requires_grad]
    return list(dict.fromkeys(parameters))


def _copy_of(parameter: nn.Parameter) -> nn.Parameter:
    """Return another parameter of the same weights in the same memory."""
    return nn.Parameter(parameter.data, requires_grad=False)


def _twin(
    module: nn.Module,
    change: Callable[[nn.Parameter], nn.Parameter],
    made: dict[int, nn.Module] | None = None,
) -> nn.Module:
    """Return a module like another, of parts like its parts, that shares what is not changed.

    All else that hangs on a module, such as its configuration, is shared, so that who changes it
    there changes both.
    """
    made = {} if made is None else made
    if id(module) in made:
        return made[id(module)]
    twin = made[id(module)] = copy.copy(module)
    state: dict[str, Any] = vars(twin)
    for name, value in vars(nn.Module()).items():
        if isinstance(value, dict | set):  # parameters, parts, hooks: its own
            state[name] = state[name].copy()
    parameters: dict[str, Tensor | None] = state["_parameters"]
    for name, parameter in parameters.items():
        if isinstance(parameter, nn.Parameter):
            parameters[name] = change(parameter)
    parts: dict[str, nn.Module | None] = state["_modules"]
    for name, part in parts.items():
        parts[name] = None if part is None else _twin(part, change, made)
    return twin
