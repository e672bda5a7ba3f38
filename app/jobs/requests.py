"""What a client may ask of a job: every setting with its bounds, written out.

Defaults and bounds are those of `mixsd.config`, which the API does not import; a test compares.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.fact_sets.schemas import EXAMPLE_FACTS, Fact

MAX_SEED: Final = 2**63 - 1
RETENTION_METHODS: Final = ("replay", "kl")
"""Methods that are `sft` with the retention of that name."""
RETAINED: Final = {"mixsd": "kl", **{name: name for name in RETENTION_METHODS}}
"""What `training.retention.type: auto` comes to. With other methods it is none."""
IN_CONTEXT: Final = "in_context"
"""What a comparison has beside the methods."""

PromptStyle = Literal["natural", "kgfact", "reference"]
Scorer = Literal["contains", "exact", "boxed", "boxed_or_last_number", "last_number"]
Verifier = Literal["contains", "exact", "boxed", "boxed_or_last_number", "last_number", "regex"]
Lam = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="Names the draws.")]
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


class _Request(BaseModel):
    """Nothing is converted and nothing is ignored, so what a job does is what was written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Reworded(_Request):
    """What all methods have in common."""

    rewordings: Rewordings = 0
    rewordings_source: RewordingsSource = "subject"
    rewordings_check: RewordingsCheck = True


class MixsdMethod(_Reworded):
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
    hint: Annotated[
        Literal["answer", "context"],
        Field(description="What the expert is shown: the plain answer, or a fact's own statement."),
    ] = "context"
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


class RetentionOptions(_Request):
    """What is trained beside the facts: the base model's own answers to prompts of ours."""

    type: Annotated[
        Literal["auto", "none", "replay", "kl"],
        Field(
            description="`replay`: the answers are targets. `kl`: the model is held to the base model's "
            "distribution at their tokens. `auto`: `kl` with `mixsd`, that of its name with `replay` and "
            "`kl`, none with others. Goes with every method that trains."
        ),
    ] = "auto"
    ratio: Annotated[float, Field(ge=0.01, le=16, description="Answers beside each text of a step.")] = 0.5
    weight: Annotated[
        float, Field(ge=0.001, le=1000, description="Of their tokens, where one of a fact counts 1.")
    ] = 1.0
    about: Annotated[
        Literal["both", "open", "questions"],
        Field(description="Which of the built-in prompts: open ones, short questions, or both in turn."),
    ] = "questions"
    prompts: Annotated[int, Field(ge=1, le=128, description="How many of them, at most.")] = 128
    max_new_tokens: Annotated[int, Field(ge=1, le=1024, description="Cap of an answer.")] = 24
    temperature: Annotated[float, Field(ge=0, le=5, description="0 takes the likeliest token.")] = 0.0
    top_k: Annotated[int, Field(ge=1, le=1024, description="Candidates of a draw.")] = 1024
    kl_top_k: Annotated[int, Field(ge=2, le=1024, description="Tokens that distributions are kept of.")] = 64
    seed: Seed = 0


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
    dora: Annotated[bool, Field(description="Learn lengths of weights apart from directions.")] = False
    rslora: Annotated[bool, Field(description="Scale by alpha / sqrt(rank) instead.")] = False
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] = 5
    epochs: Annotated[int, Field(ge=1, le=1000)] = 20
    min_steps: Annotated[
        int, Field(ge=0, le=10_000_000, description="With few texts, more epochs are made, up to this.")
    ] = 60
    max_steps: Annotated[int, Field(ge=0, le=10_000_000, description="0 does not end early.")] = 0
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Texts per optimizer step.")] = 8
    micro_batch: Annotated[
        int, Field(ge=0, le=4096, description="Texts per pass, at most. 0 takes as many as fit into memory.")
    ] = 0
    processes: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="Processes of the worker's machine that train together, one for each GPU. Workers "
            "allow as many as they have GPUs, or as `MIXSD_MAX_PROCESSES` says.",
        ),
    ] = 1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip: Annotated[float, Field(ge=0, le=1000, description="Largest norm of the gradient; 0: any.")] = 1.0
    stop_when_learned: bool = True
    eval_every: Annotated[
        int,
        Field(ge=0, le=10_000_000, description="Steps between measurements of what was learned. 0: epochs."),
    ] = 0
    patience: Annotated[
        int, Field(ge=0, le=1000, description="Ends after so many measurements without a better. 0 does not.")
    ] = 0
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Field(description="`auto` takes bf16 on a GPU that has it.")
    ] = "auto"
    compile_layers: Annotated[bool, Field(description="Compile layers first. CUDA alone.")] = False
    quantize: Annotated[
        Literal["none", "nf4"], Field(description="`nf4` trains on a base in 4 bits. CUDA alone.")
    ] = "none"
    seed: Seed = 0
    retention: RetentionOptions = RetentionOptions()


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

    @model_validator(mode="after")
    def _retention_of_that_name(self) -> Self:
        kind, retention = self.method.type, self.training.retention.type
        if kind == "memit" and retention not in {"auto", "none"}:
            raise PydanticCustomError(
                "other_retention",
                "the method `memit` edits weights and trains nothing, so `training.retention` has no place",
            )
        if kind in RETENTION_METHODS and retention not in {"auto", kind}:
            raise PydanticCustomError(
                "other_retention",
                "the method `{method}` goes with `training.retention` of that type, not `{retention}`",
                {"method": kind, "retention": retention},
            )
        return self

    def settings(self) -> dict[str, Any]:
        """Return everything but the facts, as plain data: what a method implies is written out."""
        settings = self.model_dump(mode="json", exclude={"facts", "fact_set_id"})
        if self.training.retention.type == "auto":
            settings["training"]["retention"]["type"] = RETAINED.get(self.method.type, "none")
        return settings
