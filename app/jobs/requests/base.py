"""What all parts of a request have in common."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_SEED: Final = 2**63 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="Names the draws.")]

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Priority = Annotated[int, Field(ge=-100, le=100, description="Higher goes first.")]

_Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_LabelValue = Annotated[str, StringConstraints(max_length=500)]
Metadata = Annotated[dict[_Label, _LabelValue], Field(max_length=32, description="Yours.")]


class Request(BaseModel):
    """Nothing is converted and nothing is ignored, so what a job does is what was written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
