"""What clients receive about how the variants of a job compare."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.adapters.schemas import GateStatus


class FrontierAxis(BaseModel):
    """A score that variants are compared by."""

    suite: str
    metric: str
    lower_is_better: bool
    base: Annotated[float | None, Field(description="Of the base model.")]


class FrontierPoint(BaseModel):
    """Where a variant stands."""

    variant: int
    label: str
    memorised: float | None
    memorised_low: float | None
    memorised_high: float | None
    kept: float | None
    kept_low: float | None
    kept_high: float | None
    loss: Annotated[
        float | None, Field(description="How much worse than the base model `kept` is; negative if better.")
    ]
    within: Annotated[bool, Field(description="Whether the loss is at most `max_drop`.")]
    on_frontier: Annotated[bool, Field(description="Whether no other is better in one and as good in both.")]
    gate: GateStatus | None


class Frontier(BaseModel):
    """What variants memorised against what they kept, which one is recommended, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "memorised": {
                        "suite": "paraphrase",
                        "metric": "accuracy",
                        "lower_is_better": False,
                        "base": 0.02,
                    },
                    "kept": {
                        "suite": "general",
                        "metric": "accuracy",
                        "lower_is_better": False,
                        "base": 0.71,
                    },
                    "max_drop": 0.05,
                    "points": [
                        {
                            "variant": 0,
                            "label": "mixsd lam 0.3",
                            "memorised": 0.73,
                            "memorised_low": 0.59,
                            "memorised_high": 0.83,
                            "kept": 0.69,
                            "kept_low": 0.61,
                            "kept_high": 0.76,
                            "loss": 0.02,
                            "within": True,
                            "on_frontier": True,
                            "gate": None,
                        }
                    ],
                    "knee": None,
                    "recommended": 0,
                    "rule": "margin",
                    "why": "of the variants that lose at most 5.0% of general it memorised most, 73.0% of "
                    "paraphrase",
                }
            ]
        }
    )

    memorised: FrontierAxis
    kept: Annotated[FrontierAxis | None, Field(description="Null if nothing was measured that can be lost.")]
    max_drop: Annotated[float | None, Field(description="The gate's, if it is on `kept`; else 0.05.")]
    points: list[FrontierPoint]
    knee: Annotated[
        int | None, Field(description="The variant at which the frontier bends, if it does and has three.")
    ]
    recommended: Annotated[int, Field(description="A variant.")]
    rule: Annotated[
        Literal["only", "margin", "knee", "balance", "memorised"],
        Field(
            description="`only`: there is no other. `margin`: memorised most of those within `max_drop`. "
            "`knee`: none of those within it learned anything, and the frontier bends there. `balance`: nor "
            "does it bend, and what it learned less what it lost is most. `memorised`: nothing was measured "
            "that can be lost."
        ),
    ]
    why: Annotated[str, Field(description="The rule with its figures, in words.")]
