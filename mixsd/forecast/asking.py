"""What a service asks: plain data in, what a run has to do out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixsd.config import Plan
from mixsd.facts import Fact
from mixsd.forecast.chat import chat_of
from mixsd.forecast.shape import Shape, shape_of
from mixsd.forecast.work import Changed, Work, work_of
from mixsd.models.registry import BUILT_IN, find
from mixsd.options import plan_from


@dataclass(frozen=True, slots=True)
class Model:
    """A model as far as it is known here.

    Attributes:
        folder: None if it is not on disk.
        fetched: Bytes that must be fetched first; None if that is not known.
    """

    folder: Path | None
    shape: Shape
    fetched: int | None


def model_of(cache: Path, model_id: str, revision: str | None) -> Model:
    """Say what is known of a model whose names have been checked, without asking a hub."""
    found = find(cache, model_id, revision)
    if found is not None:
        return Model(found.folder, shape_of(found.folder, found.card), 0)
    built_in = BUILT_IN.get(model_id)
    if built_in is None:
        return Model(None, Shape(), None)
    return Model(None, Shape(parameters=built_in.parameters, bytes=4 * built_in.parameters), built_in.bytes)


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """Return the plan of a job's settings, which hold `method`, `training` and `evaluation`.

    Raises:
        ConfigError: A value is out of bounds.
    """
    parts = {name: settings[name] for name in ("method", "training", "evaluation")}
    return plan_from(**parts)


def work_for(
    bodies: Sequence[Mapping[str, Any]],
    n_facts: int,
    plan: Plan,
    model: Model,
    *,
    device: str,
    changed: Changed | None = None,
) -> Work:
    """Say what a run has to do.

    Args:
        bodies: A sample of the facts as plain data, with one at least.
        n_facts: How many there are.
        device: Kind of device.
        changed: What became of the facts of an adapter that it starts from.
    """
    facts = [Fact.from_json(dict(body)) for body in bodies]
    chat = chat_of(model.folder)
    fetched = model.fetched or 0
    return work_of(facts, n_facts, plan, chat, model.shape, device=device, fetched=fetched, changed=changed)
