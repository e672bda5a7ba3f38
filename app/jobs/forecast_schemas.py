"""What clients receive about what a job is expected to take."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.jobs.states import Phase


class SecondsForecast(BaseModel):
    """How long something takes: in half of the cases less than `p50`, in nine of ten less than `p90`."""

    p50: float
    p90: float
    basis: Annotated[
        Literal["history", "prior"],
        Field(
            description="`history`: by jobs of this deployment with the same base model and kind of device."
        ),
    ]
    n: Annotated[int, Field(description="How many of those. 0 for a prior, which may be far off.")]


class PeakForecast(BaseModel):
    """Bytes at the peak: in half of the cases fewer than `p50`, in nine of ten fewer than `p90`."""

    p50: int
    p90: int
    basis: Annotated[
        Literal["history", "prior"],
        Field(
            description="`history`: what was computed, times what jobs of this deployment with the same base "
            "model and kind of device took of that."
        ),
    ]
    n: Annotated[int, Field(description="How many of those. 0 for a prior, which may be far off.")]


class MemoryForecast(BaseModel):
    """Bytes at the peak, roughly, as computed from sizes; and what that comes to by jobs that have ended."""

    device_least: Annotated[
        int, Field(description="With batches cut as small as they go: with less, the job fails.")
    ]
    device_at_once: Annotated[int, Field(description="With nothing cut, which is fastest.")]
    host: Annotated[int, Field(description="Of the worker's machine.")]
    peak: Annotated[
        PeakForecast | None, Field(description="Of the device; on a CPU, of the process with all it holds.")
    ] = None


class PhaseForecast(BaseModel):
    phase: Phase
    units: Annotated[int, Field(description="As `progress` counts them; of training at most.")]
    unit: str
    tokens_read: Annotated[int, Field(description="Prompts, and what the model is trained or judged on.")]
    tokens_written: Annotated[
        int, Field(description="What the model writes: for answers their cap, for texts what is usual.")
    ]
    seconds: Annotated[SecondsForecast | None, Field(description="Null: the model's size is not known.")]


class ForecastRead(BaseModel):
    """What a job is expected to take, if nothing else slows it down."""

    facts: int
    sampled: Annotated[
        int, Field(description="Facts that were looked at; the rest is taken to be like them.")
    ]
    counted_by: Annotated[
        Literal["tokenizer", "characters"],
        Field(description="`characters`: the model is not on disk, and tokens are guessed from lengths."),
    ]
    targets: Annotated[int, Field(description="Texts that are trained on, if enough rewordings are found.")]
    steps: Annotated[int, Field(description="Steps of training, if it does not end early.")]
    device: Annotated[str, Field(description="Kind of device that it is for: `cpu`, `cuda` or `mps`.")]
    seconds: Annotated[SecondsForecast | None, Field(description="The sum over all phases.")]
    phases: list[PhaseForecast]
    memory: Annotated[
        MemoryForecast | None,
        Field(description="Null: the model's sizes are not known, or the job is older than this."),
    ] = None
