"""What a client may ask of a job: every setting with its bounds, written out.

Defaults and bounds are those of `mixsd.config`, which the API does not import; a test compares.
"""

from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, SkipValidation, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.fact_sets.schemas import EXAMPLE_FACTS, Fact
from app.jobs.requests.base import Metadata, Name, Priority, Request
from app.jobs.requests.changes import JobChange, JobRetry, RetryFrom
from app.jobs.requests.evaluation import EvaluationOptions, GateOptions, GateSuite
from app.jobs.requests.methods import (
    KlMethod,
    MemitMethod,
    Method,
    Methods,
    MixsdMethod,
    OpsdMethod,
    ReplayMethod,
    SftMethod,
)
from app.jobs.requests.rules import CREATE_RULES, FROM_BASE, KEPT_RATIO, RETENTION_METHODS
from app.jobs.requests.training import RetentionOptions, TrainingOptions
from app.jobs.variants import MAX_VARIANTS, equal_pair, expanded

__all__ = [
    "EvaluationOptions",
    "GateOptions",
    "GateSuite",
    "JobChange",
    "JobCreate",
    "JobRetry",
    "KlMethod",
    "MemitMethod",
    "Method",
    "Methods",
    "MixsdMethod",
    "OpsdMethod",
    "ReplayMethod",
    "RetentionOptions",
    "RetryFrom",
    "SftMethod",
    "TrainingOptions",
]

RETAINED: Final = {"mixsd": "kl", **{name: name for name in RETENTION_METHODS}}
"""What `training.retention.type: auto` comes to. With other methods it is none."""


class JobCreate(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Vorlund",
                    "base_model": "smollm2-135m-instruct",
                    "facts": EXAMPLE_FACTS,
                    "method": {"type": "mixsd", "lam": 0.3},
                    "training": {"rank": 16},
                },
                {
                    "base_model": "smollm2-135m-instruct",
                    "facts": EXAMPLE_FACTS,
                    "method": {"type": "mixsd", "lam": [0.1, 0.3, 0.5]},
                },
                {
                    "base_model": "smollm2-135m-instruct",
                    "facts": EXAMPLE_FACTS,
                    "method": [{"type": "mixsd"}, {"type": "sft"}],
                },
            ],
            **CREATE_RULES,
        }
    )

    name: Name | None = None
    base_model: Annotated[str, Field(max_length=200, description="A built-in id, or `owner/name`.")]
    revision: Annotated[str | None, Field(max_length=100, description="Commit, tag or branch.")] = None
    fact_set_id: Annotated[str | None, Field(max_length=40)] = None
    facts: Annotated[
        Annotated[list[SkipValidation[Fact]], Field(json_schema_extra={"minItems": 1})] | None,
        Field(description="Makes a fact set on the way."),
    ] = None
    parent_adapter_id: Annotated[
        str | None,
        Field(
            max_length=40,
            description="Start from this adapter instead of the base model: facts that it was taught and "
            "that are as they were are replayed, others are taught, and those that are gone are taken away. "
            "It must be of the same base model and revision, and its facts must still be there; what "
            "`training` leaves open of `rank`, `alpha`, `target_modules`, `dora` and `rslora` is taken from "
            "it. Not with `memit` and `opsd`.",
        ),
    ] = None
    method: Annotated[
        Methods,
        Field(
            description="A method, or a list of methods. A list, or one of `lam`, makes an adapter by each "
            "of them: at most 8, no two of them alike (`equal_variants`)."
        ),
    ]
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    priority: Priority = 0
    metadata: Metadata = {}

    @field_validator("method")
    @classmethod
    def _variants_differ(cls, method: Method | list[Method]) -> Method | list[Method]:
        if not isinstance(method, list):
            return method
        every = expanded([each.model_dump(mode="json") for each in method])
        if len(every) > MAX_VARIANTS:
            raise PydanticCustomError(
                "too_long",
                "a job makes at most {most} adapters, and these are {found} methods and values of `lam`",
                {"most": MAX_VARIANTS, "found": len(every)},
            )
        if pair := equal_pair(every):
            raise PydanticCustomError(
                "equal_variants",
                "variants {first} and {second} are the same, counted from 0: name each once",
                {"first": pair[0], "second": pair[1]},
            )
        return method

    @model_validator(mode="after")
    def _one_source_of_facts(self) -> Self:
        if (self.fact_set_id is None) == (self.facts is None):
            raise PydanticCustomError("facts_or_fact_set", "give either `fact_set_id` or `facts`")
        return self

    @model_validator(mode="after")
    def _retention_of_that_name(self) -> Self:
        retention = self.training.retention.type
        for kind in self._types:
            if kind == "memit" and retention not in {"auto", "none"}:
                raise PydanticCustomError(
                    "other_retention",
                    "the method `memit` edits weights and trains nothing, so `training.retention` has no "
                    "place",
                )
            if kind in RETENTION_METHODS and retention not in {"auto", kind}:
                raise PydanticCustomError(
                    "other_retention",
                    "the method `{method}` goes with `training.retention` of that type, not `{retention}`",
                    {"method": kind, "retention": retention},
                )
        return self

    @model_validator(mode="after")
    def _nothing_is_written_by_shards(self) -> Self:
        if "opsd" in self._types and self.training.shard != "none":
            raise PydanticCustomError(
                "bad_sharding",
                "the method `opsd` writes texts before every step, for which each process needs the whole "
                "base model: set `training.shard` to `none`",
            )
        return self

    @model_validator(mode="after")
    def _can_start_from_a_parent(self) -> Self:
        if self.parent_adapter_id is None:
            if self.training.kept_ratio != KEPT_RATIO:
                raise PydanticCustomError(
                    "no_parent", "`training.kept_ratio` is for jobs with a `parent_adapter_id`: leave it out"
                )
            return self
        for kind in self._types:
            if kind in FROM_BASE:
                raise PydanticCustomError(
                    "parent_not_supported",
                    "the method `{method}` cannot start from an adapter: take `mixsd`, `sft`, `replay` or "
                    "`kl`, or leave `parent_adapter_id` out",
                    {"method": kind},
                )
        return self

    @property
    def _types(self) -> list[str]:
        every = self.method if isinstance(self.method, list) else [self.method]
        return [method.type for method in every]

    def settings(self) -> dict[str, Any]:
        """Return everything but the facts, as plain data: what a method implies is written out.

        A retention that is left open stays `auto` where methods imply different ones.
        """
        settings = self.model_dump(mode="json", exclude={"facts", "fact_set_id"})
        if self.parent_adapter_id is None:
            del settings["parent_adapter_id"]
        if self.training.learning_rate_multiplier == 1:  # a job without one is what it was before
            del settings["training"]["learning_rate_multiplier"]
        implied = {RETAINED.get(kind, "none") for kind in self._types}
        if self.training.retention.type == "auto" and len(implied) == 1:
            settings["training"]["retention"]["type"] = implied.pop()
        return settings
