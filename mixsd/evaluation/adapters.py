"""What a stored adapter answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixsd.config import EvalConfig
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.living import Living, bare
from mixsd.models.load import Base
from mixsd.progress import OnProgress, silent
from mixsd.training import lora


def measure_adapter(
    base: Base,
    adapter: Path,
    facts: Sequence[Fact],
    config: EvalConfig,
    *,
    baseline: Measured,
    exact: bool = False,
    on_progress: OnProgress = silent,
) -> Measured:
    """Ask the stored adapter what the base model was asked.

    Args:
        base: The base model, without an adapter on it.
        adapter: Folder with the two files of peft.
        baseline: What the base model said.
        exact: Leave the base model as it was to the last bit, for the next adapter.
    """
    model = lora.load_adapter(base, adapter)
    model.eval()
    with lora.merged(model, exact=exact):
        said = measure(base, facts, config, model=model, baseline=baseline, on_progress=on_progress)
    lora.detach(model)
    return said


def measure_parent(
    base: Base, living: Living, facts: Sequence[Fact], config: EvalConfig, *, on_progress: OnProgress = silent
) -> Measured:
    """Ask the adapter that a run starts from the training questions of its facts and of retired ones.

    The base model stays as it was to the last bit.
    """
    asked = living.asked([bare(fact) for fact in facts])
    narrow = replace(config, general=False, drift=False, gate=None)
    nothing = Measured((), (), (), ())
    return measure_adapter(
        base, living.folder, asked, narrow, baseline=nothing, exact=True, on_progress=on_progress
    )
