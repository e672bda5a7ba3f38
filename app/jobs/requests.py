"""What a client may ask of a job: every setting with its bounds, written out.

Defaults and bounds are those of `mixsd.config`, which the API does not import; a test compares.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.fact_sets.schemas import EXAMPLE_FACTS, Fact

MAX_SEED: Final = 2**63 - 1

PromptStyle = Literal["natural", "kgfact", "reference"]
Scorer = Literal["contains", "exact", "boxed", "boxed_or_last_number", "last_number"]
Verifier = Literal["contains", "exact", "boxed", "boxed_or_last_number", "last_number", "regex"]
Lam = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="Names the draws.")]


class _Request(BaseModel):
    """Nothing is converted and nothing is ignored, so what a job does is what was written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class MixsdMethod(_Request):
    """The base model writes its own supervision, from two of its conditionals."""

    type: Literal["mixsd"]
    lam: Annotated[Lam, Field(description="Chance that a token comes from the naive conditional.")] = 0.3
    lam_backoff: Annotated[
        list[Lam],
        Field(max_length=16, description="Values that take the place of `lam` as attempts fail."),
    ] = [0.15, 0.05, 0.0]
    temperature: Annotated[float, Field(ge=0, le=5, description="0 takes the likeliest token.")] = 0.0
    top_k: Annotated[int, Field(ge=1, le=1024, description="Candidates of a draw.")] = 64
    max_attempts: Annotated[int, Field(ge=1, le=1000, description="Attempts at each text.")] = 10
    generations: Annotated[int, Field(ge=1, le=64, description="Texts per fact.")] = 1
    prompt_style: PromptStyle = "natural"
    verifier: Annotated[Verifier, Field(description="How a text is checked for the answer.")] = "contains"
    pattern: Annotated[
        str, Field(max_length=1000, description="For the verifier `regex`: a pattern with `{answer}` in it.")
    ] = ""
    max_new_tokens: Annotated[
        int, Field(ge=0, le=8192, description="Cap of a text. 0 takes four times the answer's, plus 32.")
    ] = 0
    fallback_to_answer: Annotated[
        bool, Field(description="Train on the plain answer where no attempt was accepted.")
    ] = False
    answer_guard: Annotated[
        bool,
        Field(
            description="Within the answer, let a naive token that would break it off give way to the "
            "expert's. More attempts succeed; the law is another."
        ),
    ] = False
    score_both: Annotated[
        bool,
        Field(description="Also measure each text under the expert, and how often both conditionals agree."),
    ] = False
    seed: Seed = 0

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        if self.verifier != "regex":
            return self
        if "{answer}" not in self.pattern:
            raise PydanticCustomError(
                "bad_pattern", "`pattern` must hold {{answer}} where the answer is expected"
            )
        try:
            re.compile(self.pattern.replace("{answer}", "x"))
        except (re.error, RecursionError, OverflowError):
            raise PydanticCustomError("bad_pattern", "`pattern` is no regular expression") from None
        return self


class SftMethod(_Request):
    """The given answers, in a plain sentence each, are trained on."""

    type: Literal["sft"]
    prompt_style: PromptStyle = "natural"
    target: Annotated[
        Literal["canonical", "natural"],
        Field(
            description="`canonical` is the short sentence of the prompt style, `natural` a full one that "
            "states the fact: its `context` where that tells the answer."
        ),
    ] = "canonical"
    seed: Seed = 0


Method = Annotated[MixsdMethod | SftMethod, Field(discriminator="type")]

LayerName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TrainingOptions(_Request):
    rank: Annotated[int, Field(ge=1, le=512, description="Width of the low-rank update.")] = 16
    alpha: Annotated[float, Field(gt=0, le=4096, description="Its scale is alpha / rank.")] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        list[LayerName],
        Field(
            min_length=1,
            max_length=64,
            description="Linear layers, by name. `mlp` takes those of the feed-forward blocks, "
            "`all-linear` all but the head.",
        ),
    ] = ["mlp"]
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] = 5
    epochs: Annotated[int, Field(ge=1, le=1000)] = 20
    max_steps: Annotated[int, Field(ge=0, le=10_000_000, description="0 does not end early.")] = 0
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Texts per optimizer step.")] = 8
    micro_batch: Annotated[int, Field(ge=0, le=4096, description="Texts per pass. 0 takes the batch.")] = 0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip: Annotated[float, Field(ge=0, le=1000, description="Largest norm of the gradient; 0: any.")] = 1.0
    stop_when_learned: bool = True
    seed: Seed = 0


class EvaluationOptions(_Request):
    max_new_tokens: Annotated[int, Field(ge=1, le=8192, description="Cap of an answer.")] = 40
    verifier: Annotated[Scorer, Field(description="How an answer is scored.")] = "contains"
    general: Annotated[bool, Field(description="Ask the built-in general-knowledge set.")] = True
    drift: Annotated[bool, Field(description="Measure the base model's own answers.")] = True
    bootstrap: Annotated[int, Field(ge=100, le=1_000_000, description="Resamples of an interval.")] = 10_000
    confidence: Annotated[float, Field(ge=0.5, lt=1, description="Of an interval.")] = 0.95


Label = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LabelValue = Annotated[str, StringConstraints(max_length=500)]


class JobCreate(_Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Vorlund",
                    "base_model": "smollm2-135m-instruct",
                    "facts": EXAMPLE_FACTS,
                    "method": {"type": "mixsd", "lam": 0.3},
                    "training": {"rank": 16},
                }
            ]
        }
    )

    name: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    base_model: Annotated[str, Field(max_length=200, description="A built-in id, or `owner/name`.")]
    revision: Annotated[str | None, Field(max_length=100, description="Commit, tag or branch.")] = None
    fact_set_id: Annotated[str | None, Field(max_length=40)] = None
    facts: Annotated[list[SkipValidation[Fact]] | None, Field(description="Makes a fact set on the way.")] = (
        None
    )
    method: Method
    training: TrainingOptions = TrainingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    priority: Annotated[int, Field(ge=-100, le=100, description="Higher goes first.")] = 0
    metadata: Annotated[dict[Label, LabelValue], Field(max_length=32, description="Yours.")] = {}

    @model_validator(mode="after")
    def _one_source_of_facts(self) -> Self:
        if (self.fact_set_id is None) == (self.facts is None):
            raise PydanticCustomError("facts_or_fact_set", "give either `fact_set_id` or `facts`")
        return self

    def settings(self) -> dict[str, Any]:
        """Return everything but the facts, as plain data."""
        return self.model_dump(mode="json", exclude={"facts", "fact_set_id"})
