"""Settings of training, checked where they are made. Nothing here loads torch."""

from dataclasses import dataclass, field
from typing import Final

from mixsd.bounds import one_of, within
from mixsd.config.methods import MAX_SEED
from mixsd.errors import ConfigError

SCHEDULES: Final = ("constant", "linear", "cosine")
RETENTIONS: Final = ("none", "replay", "kl")
RETENTION_PROMPTS: Final = ("both", "open", "questions")
REPLAY_PROMPTS: Final = 128
PRECISIONS: Final = ("auto", "fp32", "bf16")
QUANTIZATIONS: Final = ("none", "nf4")
SHARDINGS: Final = ("none", "full")
KNOWN_FACTS: Final = ("train", "skip")
KEPT_RATIO: Final = 1.0
MAX_PROCESSES: Final = 64
MAX_MULTIPLIER: Final = 500.0


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """What is trained beside the facts, so that the model stays as it was elsewhere.

    The base model answers prompts of ours once, before training. With `replay` these answers
    are targets like those of the facts; with `kl` the model is held to the base model's
    distribution at each of their tokens.

    Attributes:
        type: `none`, `replay` or `kl`. Goes with any method that trains; `memit` does not. Options
            of a plan may leave it to the method (`auto`), see `mixsd.config.RETAINED`.
        ratio: Answers beside each target of a step.
        weight: Of their tokens in the loss, where a token of a fact counts 1.
        about: `open` prompts, which are answered at length; short `questions`, which keep the model
            from answering what it knew with what it was taught; or `both` in turn.
        prompts: How many of them are used, at most.
        max_new_tokens: Cap of an answer. One that runs into it is trained on without an end.
        temperature: Of the answers; 0 takes the likeliest token.
        top_k: Candidates of a draw.
        kl_top_k: The base model's likeliest tokens that both distributions are renormalised over.
        seed: Names draws, and the order of the answers.
    """

    type: str = "none"
    ratio: float = 0.5
    weight: float = 1.0
    about: str = "questions"
    prompts: int = REPLAY_PROMPTS
    max_new_tokens: int = 24
    temperature: float = 0.0
    top_k: int = 1024
    kl_top_k: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("retention.type", self.type, RETENTIONS)
        within("retention.ratio", self.ratio, 0.01, 16)
        within("retention.weight", self.weight, 0.001, 1000)
        one_of("retention.about", self.about, RETENTION_PROMPTS)
        within("retention.prompts", self.prompts, 1, REPLAY_PROMPTS)
        within("retention.max_new_tokens", self.max_new_tokens, 1, 1024)
        within("retention.temperature", self.temperature, 0, 5)
        within("retention.top_k", self.top_k, 1, 1024)
        within("retention.kl_top_k", self.kl_top_k, 2, 1024)
        within("retention.seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Shape of the adapter.

    Attributes:
        rank: Width of the low-rank update.
        alpha: Its scale is `alpha / rank`.
        dropout: On the input of the update, while training.
        target_modules: Names of linear layers. `mlp` takes those of the feed-forward blocks, which
            learns facts at less cost to everything else; `all-linear` every one but the head.
        dora: Learn the length of each weight's columns apart from their direction (arXiv:2402.09353).
        rslora: Scale by `alpha / sqrt(rank)` instead (arXiv:2312.03732).
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("mlp",)
    dora: bool = False
    rslora: bool = False

    def __post_init__(self) -> None:
        within("rank", self.rank, 1, 512)
        if not 0 < self.alpha <= 4096:
            raise ConfigError(f"alpha must be in (0, 4096], got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        if not self.target_modules:
            raise ConfigError("target_modules must name at least one layer")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How the adapter is trained.

    Attributes:
        learning_rate: Peak of the schedule. None takes that of the model's width, and twice that with
            the KL of `retention`, see `mixsd.training.schedule.rated`.
        learning_rate_multiplier: What that is multiplied by, the model's own as well.
        schedule: `constant`, `linear` or `cosine`, after `warmup_steps` of linear rise.
        epochs: Passes over the targets.
        min_steps: With few targets, more passes are made, until there are as many steps.
        max_steps: Ends training early; 0 does not.
        batch_size: Targets per optimizer step.
        micro_batch: Targets per forward pass, at most; 0 takes as many as memory allows. The result
            is the same but for rounding.
        processes: How many processes of this machine train the adapter, each on its share of every
            batch: one for each GPU on CUDA, with a copy of the base model each; on a CPU they share
            the cores. The result is the same but for rounding, and for the draws of dropout.
        shard: `full` shares the layers of the base model out among the processes while they train:
            each holds a part, and gathers a layer when it computes that. For bases beside which a GPU
            has too little room to train. Slower; the result is the same but for rounding.
        clip: Largest norm of the gradient; 0 does not clip.
        stop_when_learned: End once the model answers every question; with the KL of `retention` after
            as many steps again, with a rate that falls to 0. Asked after an epoch whose loss makes it
            likely, or every `eval_every` steps.
        eval_every: Steps between two measurements of what was learned; 0 measures after epochs.
        patience: End after so many measurements without a better one, with the adapter as it was at
            the best; 0 does not.
        checkpoint_seconds: How often a checkpoint is saved. 0 saves after every step.
        precision: `fp32` computes in the type of the weights, `bf16` in bfloat16 where that is
            faster (CUDA alone); `auto` takes bf16 on a GPU that has it, fp32 elsewhere.
        compile_layers: Compile the layers of the model first (CUDA alone). Pays in long runs.
        known_facts: What becomes of facts that the base model answers already: `train` teaches them with
            the others, `skip` makes no text for them and trains none. They are evaluated either way.
        quantize: `nf4` keeps the base model in 4 bits while training (CUDA and bitsandbytes).
        kept_ratio: Where training starts from an adapter: texts of facts that are as they were, beside each
            text of a step that is new, changed or retired. 0 replays none. See `mixsd.living`.
        seed: Names initial weights, order of targets and dropout.
        retention: What is trained beside the facts.
    """

    lora: LoraConfig = field(default_factory=LoraConfig)
    learning_rate: float | None = None
    learning_rate_multiplier: float = 1.0
    schedule: str = "constant"
    warmup_steps: int = 5
    epochs: int = 20
    min_steps: int = 60
    max_steps: int = 0
    batch_size: int = 8
    micro_batch: int = 0
    processes: int = 1
    shard: str = "none"
    weight_decay: float = 0.0
    clip: float = 1.0
    stop_when_learned: bool = True
    eval_every: int = 0
    patience: int = 0
    checkpoint_seconds: float = 60.0
    precision: str = "auto"
    compile_layers: bool = False
    quantize: str = "none"
    known_facts: str = "train"
    kept_ratio: float = KEPT_RATIO
    seed: int = 0
    retention: RetentionConfig = field(default_factory=RetentionConfig)

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate must be in (0, 1], got {self.learning_rate}")
        self._check_multiplier()
        one_of("schedule", self.schedule, SCHEDULES)
        within("warmup_steps", self.warmup_steps, 0, 100_000)
        within("epochs", self.epochs, 1, 1000)
        within("min_steps", self.min_steps, 0, 10_000_000)
        within("max_steps", self.max_steps, 0, 10_000_000)
        within("batch_size", self.batch_size, 1, 4096)
        within("micro_batch", self.micro_batch, 0, 4096)
        within("processes", self.processes, 1, MAX_PROCESSES)
        one_of("shard", self.shard, SHARDINGS)
        within("weight_decay", self.weight_decay, 0, 1)
        within("clip", self.clip, 0, 1000)
        within("eval_every", self.eval_every, 0, 10_000_000)
        within("patience", self.patience, 0, 1000)
        within("checkpoint_seconds", self.checkpoint_seconds, 0, 86_400)
        one_of("precision", self.precision, PRECISIONS)
        one_of("quantize", self.quantize, QUANTIZATIONS)
        one_of("known_facts", self.known_facts, KNOWN_FACTS)
        within("kept_ratio", self.kept_ratio, 0, 16)
        within("seed", self.seed, 0, MAX_SEED)
        self._check_sharding()

    def _check_multiplier(self) -> None:
        """Refuse one that makes no learning rate.

        Raises:
            ConfigError: Says what it may be.
        """
        factor = self.learning_rate_multiplier
        if not 0 < factor <= MAX_MULTIPLIER:
            raise ConfigError(f"learning_rate_multiplier must be in (0, {MAX_MULTIPLIER:g}], got {factor}")
        if self.learning_rate is not None and self.learning_rate * factor > 1:
            raise ConfigError(
                f"learning_rate {self.learning_rate} times learning_rate_multiplier {factor} is above 1: "
                "lower one of them"
            )

    def _check_sharding(self) -> None:
        """Refuse what does not go with a sharded base.

        Raises:
            ConfigError: Says what, and what to set instead.
        """
        if self.shard == "none":
            return
        if self.processes == 1:
            raise ConfigError(
                "shard full shares the base model out among processes, and processes is 1: set processes "
                "to 2 or more, or shard to none"
            )
        if self.quantize != "none":
            raise ConfigError(
                f"shard full does not go with quantize {self.quantize}: set one of them to none"
            )
        if self.compile_layers:
            raise ConfigError(
                "shard full does not go with compile_layers: set compile_layers to false, or shard to none"
            )
