"""What all parts of a request have in common."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MAX_SEED: Final = 2**63 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="Names the draws.")]


class Request(BaseModel):
    """Nothing is converted and nothing is ignored, so what a job does is what was written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
