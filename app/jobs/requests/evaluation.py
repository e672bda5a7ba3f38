"""How a job may be evaluated: every setting with its bounds, written out."""

from typing import Annotated, Final, Literal, get_args

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.jobs.requests.base import Request
from app.jobs.requests.rules import gate_rules, measured

NO_SHARES: Final = ("drift",)
"""Suites that are no shares of right answers."""

Scorer = Literal[
    "contains",
    "exact",
    "boxed",
    "boxed_or_last_number",
    "last_number",
    "boxed_chain",
    "boxed_loose",
    "boxed_or_text",
    "contains_strict",
    "first_sentence",
]
GateSuite = Literal[
    "recall",
    "paraphrase",
    "probe",
    "probe_reversed",
    "probe_hop",
    "probe_neighbour",
    "probe_other",
    "general",
    "drift",
]
_SUITES: Final[list[str]] = list(get_args(GateSuite))


class GateOptions(Request):
    """A test of non-inferiority that the adapter must not fail."""

    model_config = ConfigDict(
        json_schema_extra=gate_rules([suite for suite in _SUITES if suite not in NO_SHARES])
    )

    suite: Annotated[GateSuite, Field(description="The score that it stands on.")]
    max_drop: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="The largest loss that is still taken: a share of the items, below 1, or nats per "
            "token of `drift`.",
        ),
    ]
    confidence: Annotated[float, Field(ge=0.5, lt=1, description="Of each bound of the difference.")] = 0.95

    @field_validator("max_drop")
    @classmethod
    def _is_a_share(cls, max_drop: float, info: ValidationInfo) -> float:
        if info.data.get("suite") not in NO_SHARES and max_drop >= 1:
            raise PydanticCustomError(
                "out_of_range", "of a share of the items less than 1 can be lost: 0.05 are five points"
            )
        return max_drop


class EvaluationOptions(Request):
    model_config = ConfigDict(json_schema_extra=measured(["general", "drift"]))

    max_new_tokens: Annotated[int, Field(ge=1, le=8192, description="Cap of an answer.")] = 40
    verifier: Annotated[Scorer, Field(description="How an answer is scored.")] = "contains"
    general: Annotated[bool, Field(description="Ask the built-in general-knowledge set.")] = True
    drift: Annotated[bool, Field(description="Measure the base model's own answers.")] = True
    bootstrap: Annotated[int, Field(ge=100, le=1_000_000, description="Resamples of an interval.")] = 10_000
    confidence: Annotated[float, Field(ge=0.5, lt=1, description="Of an interval.")] = 0.95
    gate: Annotated[
        GateOptions | None, Field(description="What the adapter must keep, or it is quarantined.")
    ] = None

    @field_validator("gate")
    @classmethod
    def _is_measured(cls, gate: GateOptions | None, info: ValidationInfo) -> GateOptions | None:
        if gate and not info.data.get(gate.suite, True):
            raise PydanticCustomError(
                "suite_not_measured",
                "the suite `{suite}` is switched off, so nothing can be held to it",
                {"suite": gate.suite},
            )
        return gate
