"""The beginning of a run: how gradients are computed in it, and how much at once."""

from collections.abc import Callable, Sequence

from peft import PeftModel

from mixsd.config import TrainConfig
from mixsd.training import lora, memory
from mixsd.training.batches import Example
from mixsd.training.checkpoint import Cursor
from mixsd.training.compute import autocast_for
from mixsd.training.memory import Room
from mixsd.training.merged import mergeable_layers
from mixsd.training.sharded import Shards
from mixsd.training.step import Gradients
from mixsd.training.suited import choose, room_to_merge


def gradients_for(
    model: PeftModel,
    batch: Sequence[Example],
    config: TrainConfig,
    cursor: Cursor,
    *,
    pad_id: int,
    longest: int,
    notice: Callable[[str], None],
    shards: Shards | None = None,
) -> Gradients:
    """Return what computes the gradients of a run, after a trial on its first batch.

    What depends on free memory is decided once: a run that is resumed takes it from its cursor.

    Args:
        model: The model with the adapter, in the mode of training.
        batch: The first examples.
        config: How the run trains.
        cursor: Where it stands.
        pad_id: What rows are filled up with.
        longest: Tokens of the longest text of the run.
        notice: Told what is done another way than the fast one, and why.
        shards: Of the model, where it is sharded: then `batch` is the same in all processes.

    Raises:
        OutOfMemoryError: Not even one text fits into memory.
    """
    fresh = cursor.room_tokens is None
    autocast = autocast_for(model.device, config.precision)
    if shards is not None:
        if autocast is None and cursor.merge and mergeable_layers(model):
            notice("adapted layers multiply three times instead of once: the base model is sharded")
    elif fresh and not room_to_merge(model):
        cursor.merge = False
        notice("adapted layers multiply three times instead of once: memory is small for merged ones")
    merge = cursor.merge and shards is None
    most = 0 if shards is None else config.micro_batch
    with lora.seeded(config.seed):
        found = choose(
            model,
            batch,
            pad_id=pad_id,
            autocast=autocast,
            merge=merge,
            notice=notice,
            shards=shards,
            most=most,
        )
    room = Room(cursor.room_tokens or 0, cursor.twice)
    if fresh:
        largest = longest * max(len(batch), config.batch_size)
        free = memory.free_bytes(model.device)
        if free is not None and shards is not None:
            free = max(0, free - shards.reserve)
        room = memory.room_for(found.needs, free, longest=longest, largest=largest)
        if room.twice:
            notice("layers are computed twice, which is slower: memory is too small otherwise")
    return Gradients(
        model,
        found.way,
        merged=found.merged,
        autocast=autocast,
        room=room,
        most=config.micro_batch,
        notice=notice,
        shards=shards,
    )
