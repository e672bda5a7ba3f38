"""Methods that a job may ask for: every setting with its bounds, written out."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.jobs.requests.base import Request, Seed
from app.jobs.requests.rules import PATTERN_RULES, ROLLOUT_RULES
from app.jobs.variants import MAX_VARIANTS

IN_CONTEXT: Final = "in_context"
"""What a comparison has beside the methods."""

PromptStyle = Literal["natural", "kgfact", "reference"]
Verifier = Literal[
    "contains", "contains_strict", "exact", "boxed", "boxed_or_last_number", "last_number", "regex"
]
Lam = Annotated[float, Field(ge=0, le=1)]
Lams = Annotated[
    list[Lam], Field(min_length=1, max_length=MAX_VARIANTS, json_schema_extra={"uniqueItems": True})
]
Rewordings = Annotated[
    int,
    Field(ge=0, le=16, description="Other wordings of each question that get texts of their own."),
]
RewordingsSource = Annotated[
    Literal["subject", "model", "templates", "both"],
    Field(
        description="`subject`: English prompts about the subject of the fact, then frames. `model`: the "
        "base model words them. `templates`: English frames of ours around the question. `both`: frames "
        "where the model found too few."
    ),
]
RewordingsCheck = Annotated[
    bool,
    Field(description="Take a wording only if the base model, shown the fact, answers it with the answer."),
]


def _how_many(value: Any) -> str:
    """Say whether there is one or a list of them, so that mistakes are told of that alone."""
    return "several" if isinstance(value, list) else "one"


class _Reworded(Request):
    """What all methods have in common."""

    rewordings: Rewordings = 0
    rewordings_source: RewordingsSource = "subject"
    rewordings_check: RewordingsCheck = True


class MixsdMethod(_Reworded):
    """The base model writes its own supervision, from two of its conditionals."""

    model_config = ConfigDict(json_schema_extra=PATTERN_RULES)

    type: Literal["mixsd"]
    lam: Annotated[
        Annotated[Lam, Tag("one")] | Annotated[Lams, Tag("several")],
        Discriminator(_how_many),
        Field(
            description="Chance that a token comes from the naive conditional. A list makes an adapter for "
            "each of its values."
        ),
    ] = 0.3
    lam_backoff: Annotated[
        list[Lam],
        Field(max_length=16, description="Values that take the place of `lam` as attempts fail."),
    ] = [0.15, 0.05, 0.0]
    temperature: Annotated[float, Field(ge=0, le=5, description="0 takes the likeliest token.")] = 0.0
    top_k: Annotated[int, Field(ge=1, le=1024, description="Candidates of a draw.")] = 64
    max_attempts: Annotated[int, Field(ge=1, le=1000, description="Attempts at each text.")] = 10
    generations: Annotated[int, Field(ge=1, le=64, description="Texts per fact.")] = 1
    prompt_style: PromptStyle = "natural"
    hint: Annotated[
        Literal["answer", "context"],
        Field(description="What the expert is shown: the plain answer, or a fact's own statement."),
    ] = "context"
    verifier: Annotated[Verifier, Field(description="How a text is checked for the answer.")] = (
        "contains_strict"
    )
    pattern: Annotated[
        str, Field(max_length=1000, description="For the verifier `regex`: a pattern with `{answer}` in it.")
    ] = ""
    max_new_tokens: Annotated[
        int, Field(ge=0, le=8192, description="Cap of a text. 0 takes four times the answer's, plus 32.")
    ] = 0
    fallback_to_answer: Annotated[
        bool, Field(description="Train on the plain answer where no attempt was accepted.")
    ] = True
    answer_guard: Annotated[
        bool,
        Field(
            description="Within the answer, let a naive token that would break it off give way to the "
            "expert's. More attempts succeed; the law is another."
        ),
    ] = False
    opening: Annotated[
        str,
        Field(max_length=200, description="Words that every text begins with, given and not drawn."),
    ] = ""
    end_at_answer: Annotated[
        bool,
        Field(
            description="End a text with the sentence that states the answer, where the model would go on."
        ),
    ] = True
    score_both: Annotated[
        bool,
        Field(description="Also measure each text under the expert, and how often both conditionals agree."),
    ] = False
    rewordings: Rewordings = 4
    wording_texts: Annotated[
        Literal["shared", "own"],
        Field(
            description="What other wordings of a question are trained on: the text of the question, or one "
            "made for each."
        ),
    ] = "shared"
    seed: Seed = 0

    @field_validator("lam")
    @classmethod
    def _lams_differ(cls, lam: float | list[float]) -> float | list[float]:
        if isinstance(lam, list) and len(set(lam)) < len(lam):
            raise PydanticCustomError("equal_variants", "`lam` must name each value once")
        return lam

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


class SftMethod(_Reworded):
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


class ReplayMethod(SftMethod):
    """`sft`, with `training.retention` of the type `replay`."""

    type: Literal["replay"]  # type: ignore[assignment]  # a name of its own


class KlMethod(SftMethod):
    """`sft`, with `training.retention` of the type `kl`."""

    type: Literal["kl"]  # type: ignore[assignment]  # a name of its own


class OpsdMethod(_Reworded):
    """On-policy self-distillation: the model answers, the base model that is shown the fact judges."""

    model_config = ConfigDict(json_schema_extra=ROLLOUT_RULES)

    type: Literal["opsd"]
    loss: Annotated[
        Literal["forward", "reverse", "nll"],
        Field(
            description="KL of the base model's distribution to the model's, the other way round, or NLL of "
            "the token that the base model holds likeliest."
        ),
    ] = "forward"
    rollouts: Annotated[int, Field(ge=1, le=64, description="Answers to each question in a step.")] = 1
    temperature: Annotated[float, Field(ge=0, le=5, description="0 takes the likeliest token.")] = 1.0
    top_k: Annotated[int, Field(ge=1, le=1024, description="Candidates of a draw.")] = 1024
    kl_top_k: Annotated[int, Field(ge=2, le=1024, description="Tokens that distributions are kept of.")] = 64
    max_new_tokens: Annotated[
        int, Field(ge=0, le=8192, description="Cap of an answer. 0 takes four times the fact's, plus 32.")
    ] = 0
    prompt_style: PromptStyle = "natural"
    seed: Seed = 0

    @model_validator(mode="after")
    def _rollouts_differ(self) -> Self:
        if self.temperature == 0 and self.rollouts > 1:
            raise PydanticCustomError(
                "equal_rollouts", "`rollouts` must be 1 at temperature 0, where all would be the same"
            )
        return self


class MemitMethod(_Reworded):
    """MEMIT: the answers are written into the MLP weights of some layers by a closed form.

    Nothing is trained: of `training`, no setting applies.
    """

    type: Literal["memit"]
    layers: Annotated[
        list[Annotated[int, Field(ge=0, le=1000)]],
        Field(
            max_length=1001,
            description="Numbers of the layers that are edited, from 0. Empty: a band in the early middle.",
            json_schema_extra={"uniqueItems": True},
        ),
    ] = []
    lookup: Annotated[
        Literal["subject", "question"],
        Field(
            description="Where the model looks a fact up: at the last token of its `subject`, where the "
            "question names that, or of the question."
        ),
    ] = "subject"
    v_steps: Annotated[int, Field(ge=1, le=1000, description="Steps in which a vector is sought.")] = 25
    v_lr: Annotated[float, Field(ge=0.001, le=10, description="Their length.")] = 0.5
    v_weight_decay: Annotated[float, Field(ge=0, le=10, description="Of a vector.")] = 1e-3
    clamp: Annotated[
        float, Field(ge=0.01, le=100, description="Longest vector, in lengths of the hidden state.")
    ] = 4.0
    kl_weight: Annotated[
        float, Field(ge=0, le=100, description="Of what holds the words behind the lookup token.")
    ] = 0.0625
    covariance_weight: Annotated[
        float,
        Field(
            ge=0.001,
            le=1000,
            description="General tokens that stand against each fact, in widths of the MLP. More keeps more "
            "of the model and teaches less.",
        ),
    ] = 2.5
    covariance_tokens: Annotated[
        int, Field(ge=64, le=1_000_000, description="Tokens of the model's own text they are measured on.")
    ] = 4096
    prompt_style: PromptStyle = "natural"
    seed: Seed = 0

    @model_validator(mode="after")
    def _layers_differ(self) -> Self:
        if len(set(self.layers)) < len(self.layers):
            raise PydanticCustomError("equal_layers", "`layers` must name each layer once")
        return self


def _makes_an_adapter(value: Any) -> Any:
    """Refuse by name what only a comparison knows."""
    if isinstance(value, dict) and value.get("type") == IN_CONTEXT:
        raise PydanticCustomError(
            "makes_no_adapter",
            "`in_context` is a row of `mixsd compare` and makes no adapter: the fact stands in the prompt",
        )
    return value


Method = Annotated[
    MixsdMethod | SftMethod | ReplayMethod | KlMethod | OpsdMethod | MemitMethod,
    Field(discriminator="type"),
    BeforeValidator(_makes_an_adapter),
]

Methods = Annotated[
    Annotated[Method, Tag("one")]
    | Annotated[
        list[Method],
        Field(min_length=1, max_length=MAX_VARIANTS, json_schema_extra={"uniqueItems": True}),
        Tag("several"),
    ],
    Discriminator(_how_many),
]
"""One method, or a list of them: then the job makes an adapter by each."""
