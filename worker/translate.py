"""Options of the API to settings of the library."""

from collections.abc import Mapping
from typing import Any

from app.jobs.models import Job
from mixsd.config import EvalConfig, LoraConfig, MixConfig, Plan, SftConfig, TrainConfig


def plan_of(job: Job, *, checkpoint_seconds: float) -> Plan:
    """Return what a job asks for. What it leaves open takes the library's default.

    Raises:
        ConfigError: A value is out of bounds. The API refuses those, so this job is older than they.
    """
    options: dict[str, Any] = _tuples(job.training)
    names = ("rank", "alpha", "dropout", "target_modules")
    shape: dict[str, Any] = {name: options.pop(name) for name in names if name in options}
    if job.micro_batch_override:
        options["micro_batch"] = job.micro_batch_override
    return Plan(
        method=_method(job.method),
        training=TrainConfig(lora=LoraConfig(**shape), checkpoint_seconds=checkpoint_seconds, **options),
        evaluation=EvalConfig(**job.evaluation),
    )


def _method(options: Mapping[str, Any]) -> MixConfig | SftConfig:
    values = _tuples(options)
    return SftConfig(**values) if values.pop("type") == "sft" else MixConfig(**values)


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
