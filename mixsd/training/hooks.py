"""What a run of training tells its caller, and asks of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peft import PeftModel

from mixsd.progress import OnProgress, silent
from mixsd.training.checkpoint import Saved


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a run tells its caller, and asks of it.

    Attributes:
        learned: Returns the share of the questions that the model answers now. May raise.
        drift: Returns what text of the base model's own costs the model now, nats per token. Asked
            whenever `learned` is. May raise.
        on_progress: Called after every step, with its loss and the recall if that was measured. May
            raise to stop.
        on_metrics: Called after every step, before its checkpoint, with the steps that are done and
            `loss`, `learning_rate`, `tokens_per_second` read, and `recall` and `drift` if they were
            measured. May raise.
        on_check: Called while it is asked what was learned, before every forward pass, and while a
            sharded model is computed. May raise.
        on_checkpoint: Called with each checkpoint, once it is on disk.
        on_notice: Called with a sentence on what a user should know and what does not stop the run.
    """

    learned: Callable[[PeftModel], float] | None = None
    drift: Callable[[PeftModel], float] | None = None
    on_progress: OnProgress = silent
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda _, __: None
    on_check: Callable[[], None] = lambda: None
    on_checkpoint: Callable[[Saved], None] = lambda _: None
    on_notice: Callable[[str], None] = lambda _: None
