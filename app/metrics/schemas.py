"""What clients receive about metrics."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class MetricRead(BaseModel):
    """A point of a series."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "loss",
                    "step": 40,
                    "value": 0.41,
                    "at": "2026-11-24T10:05:00Z",
                    "phase": "training",
                    "variant": 0,
                    "attempt": 1,
                }
            ]
        },
    )

    name: Annotated[
        str,
        Field(
            description="While training: `loss` (nats per token, the mean of the step), `learning_rate`, "
            "`tokens_per_second`, `recall` (the share of the questions that are answered). While generating: "
            "`accepted_share`, `nats_per_token`. At the end: `evaluation.` and a suite and a metric."
        ),
    ]
    step: Annotated[int, Field(description="Steps of training, or texts, that were done by then.")]
    value: float
    at: datetime
    phase: str
    variant: Annotated[int, Field(description="0, but in a job that trains several adapters.")]
    attempt: Annotated[int, Field(description="The attempt at the job that measured it.")]
