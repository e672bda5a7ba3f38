"""How a job may be trained: every setting with its bounds, written out."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.jobs.requests.base import Request, Seed
from app.jobs.requests.rules import KEPT_RATIO, MAX_MULTIPLIER, SHARD_RULES


class RetentionOptions(Request):
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


LayerName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.-]+$")]
"""The end of a layer's dotted name, or a word for several: never a pattern."""


class TrainingOptions(Request):
    model_config = ConfigDict(json_schema_extra=SHARD_RULES)

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
    learning_rate: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None,
        Field(
            description="Peak of the schedule. null takes that of the model's width: 5e-4 at 2000, less the "
            "wider it is, and at most 1e-3; with `retention` of the type `kl` and a fresh "
            "adapter twice that."
        ),
    ] = None
    learning_rate_multiplier: Annotated[
        float,
        Field(
            gt=0,
            le=MAX_MULTIPLIER,
            description="What the rate is multiplied by, that of the model's width as well. The product is "
            "at most 1: error `rate_too_high`.",
        ),
    ] = 1.0
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
    shard: Annotated[
        Literal["none", "full"],
        Field(
            description="`full` shares the layers of the base model out among the `processes` while they "
            "train, for bases beside which a GPU has too little room. Slower. Needs 2 `processes` or more, "
            "and goes neither with `quantize`, nor `compile_layers`, nor the method `opsd`: error "
            "`bad_sharding`.",
        ),
    ] = "none"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip: Annotated[float, Field(ge=0, le=1000, description="Largest norm of the gradient; 0: any.")] = 1.0
    stop_when_learned: Annotated[
        bool,
        Field(
            description="End once every question is answered; with `retention` of the type `kl` after as "
            "many steps again, with a rate that falls to 0."
        ),
    ] = True
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
    known_facts: Annotated[
        Literal["train", "skip"],
        Field(
            description="What becomes of facts that the base model answers already. `skip` makes no text for "
            "them and trains none: they are evaluated all the same. If it knows all of them, the job fails "
            "with `nothing_to_learn`."
        ),
    ] = "train"
    kept_ratio: Annotated[
        float,
        Field(
            ge=0,
            le=16,
            description="With `parent_adapter_id`: texts of facts that are as they were, beside each text of "
            "a step that is new, changed or retired. 0 replays none.",
        ),
    ] = KEPT_RATIO
    seed: Seed = 0
    retention: RetentionOptions = RetentionOptions()

    @model_validator(mode="after")
    def _is_a_rate(self) -> Self:
        if self.learning_rate is not None and self.learning_rate * self.learning_rate_multiplier > 1:
            raise PydanticCustomError(
                "rate_too_high",
                "`learning_rate` {rate} times `learning_rate_multiplier` {factor} is above 1: lower one of "
                "them",
                {"rate": self.learning_rate, "factor": self.learning_rate_multiplier},
            )
        return self

    @model_validator(mode="after")
    def _can_be_sharded(self) -> Self:
        if self.shard == "none":
            return self
        if self.processes == 1:
            raise PydanticCustomError(
                "bad_sharding",
                "`shard` shares the base model out among processes, and `processes` is 1: set `processes` to "
                "2 or more, or `shard` to `none`",
            )
        if self.quantize != "none" or self.compile_layers:
            raise PydanticCustomError(
                "bad_sharding",
                "`shard` goes neither with `quantize` nor with `compile_layers`: leave them out, or set "
                "`shard` to `none`",
            )
        return self
