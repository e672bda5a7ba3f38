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
