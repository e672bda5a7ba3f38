"""What clients receive about what a job would take."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.forecast_schemas import ForecastRead


class DiskEstimate(BaseModel):
    """Bytes."""

    model: Annotated[int | None, Field(description="To fetch. Null: not on disk, and its size is not known.")]
    job: Annotated[
        int | None, Field(description="Checkpoints and the adapter. Null: the model's size is not known.")
    ]


class QueueEstimate(BaseModel):
    """When it would start. Jobs of all projects are ahead; what they are is not told."""

    jobs_ahead: Annotated[int, Field(description="That run, or wait before it. Counted up to 1000.")]
    workers: Annotated[
        int | None, Field(description="That have reported lately. Null: workers here do not report.")
    ]
    starts_in_seconds: Annotated[
        float | None,
        Field(description="Median. Null: no worker is alive, or a job ahead has no forecast."),
    ]


class EstimateWarning(BaseModel):
    code: Literal["facts_too_long", "model_not_on_disk", "no_forecast", "no_worker"]
    detail: str


class Estimate(ForecastRead):
    """What a job would take, and what is worth knowing before it is sent. Nothing was stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "facts": 24,
                    "sampled": 24,
                    "counted_by": "tokenizer",
                    "targets": 120,
                    "steps": 300,
                    "device": "cpu",
                    "seconds": {"p50": 268.0, "p90": 402.0, "basis": "history", "n": 3},
                    "phases": [
                        {
                            "phase": "training",
                            "units": 300,
                            "unit": "steps",
                            "tokens_read": 207892,
                            "tokens_written": 1536,
                            "seconds": {"p50": 179.0, "p90": 268.5, "basis": "history", "n": 3},
                        }
                    ],
                    "base_model": "smollm2-135m-instruct",
                    "revision": "q4_1-b179c952",
                    "memory": {
                        "device_least": 632336640,
                        "device_at_once": 2568989952,
                        "host": 3768989952,
                        "peak": {"p50": 2901000000, "p90": 3868000000, "basis": "history", "n": 3},
                    },
                    "disk": {"model": 0, "job": 133816320},
                    "queue": {"jobs_ahead": 1, "workers": 1, "starts_in_seconds": 90.0},
                    "warnings": [],
                }
            ]
        }
    )

    base_model: str
    revision: str | None
    disk: DiskEstimate
    queue: QueueEstimate
    warnings: list[EstimateWarning]
