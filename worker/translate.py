"""Options of the API to settings of the library."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.jobs.models import Job
from mixsd.config import Plan
from mixsd.options import plan_from


def plan_of(job: Job, method: Mapping[str, Any], *, checkpoint_seconds: float) -> Plan:
    """Return what a job asks of one of its methods. What it leaves open takes the library's default.

    Raises:
        ConfigError: A value is out of bounds. The API refuses those, so this job is older than they.
    """
    plan = plan_from(method=method, training=job.training, evaluation=job.evaluation)
    training = replace(plan.training, checkpoint_seconds=checkpoint_seconds)
    if job.micro_batch_override:
        training = replace(training, micro_batch=job.micro_batch_override)
    return replace(plan, training=training)
