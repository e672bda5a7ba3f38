"""Settings of the methods, checked where they are made. Nothing here loads torch."""

import re
from dataclasses import dataclass
from typing import Final

from mixsd.bounds import one_of, within
from mixsd.errors import ConfigError

HINTS: Final = ("answer", "context")
PROMPT_STYLES: Final = ("natural", "kgfact", "reference")
VERIFIERS: Final = (
    "contains",
    "contains_strict",
    "exact",
    "boxed",
    "boxed_or_last_number",
    "last_number",
    "regex",
)
SFT_TARGETS: Final = ("canonical", "natural")
DIVERGENCES: Final = ("forward", "reverse", "nll")
REWORDINGS_SOURCES: Final = ("subject", "model", "templates", "both")
WORDING_TEXTS: Final = ("shared", "own")
MAX_REWORDINGS: Final = 16
MAX_OPENING: Final = 200
LOOKUPS: Final = ("subject", "question")
MAX_LAYER: Final = 1000
MAX_SEED: Final = 2**63 - 1


def _check_rewordings(count: int, source: str) -> None:
    within("rewordings", count, 0, MAX_REWORDINGS)
    one_of("rewordings_source", source, REWORDINGS_SOURCES)


def _check_opening(text: str) -> None:
    if len(text) > MAX_OPENING or "\x00" in text or text != text.strip():
        raise ConfigError(
            f"opening must be at most {MAX_OPENING} characters without outer blanks and NUL, "
            f"got {text[:40]!r}"
        )


@dataclass(frozen=True, slots=True)
class MixConfig:
    """How supervision is made by mixing.

    Attributes:
        lam: Chance that a target token comes from the naive conditional, in [0, 1].
        lam_backoff: Values that take the place of `lam` as attempts fail: the attempts are divided
            evenly among `lam` and these. Empty keeps `lam`.
        temperature: 0 takes the likeliest token.
        top_k: Candidates of a draw at temperatures above 0.
        max_attempts: Attempts at each text, each with fresh draws.
        generations: Texts per fact.
        prompt_style: Wording of both prompts, see `mixsd.prompts`.
        hint: What the expert is shown: `answer` is the plain answer, `context` a fact's own statement
            where it states the answer and fits and the style has room for it.
        verifier: How a text is checked for the answer, see `mixsd.verifiers`.
        pattern: For the verifier `regex`: a pattern with `{answer}` in it.
        max_new_tokens: Cap of a text; one that runs into it is never accepted.
            0 takes four times the answer's tokens plus 32.
        fallback_to_answer: Train on the plain answer where no attempt was accepted, instead of nothing.
        answer_guard: Within the answer, let a naive token that would break it off give way to the
            expert's, see `mixsd.decoding.guard`. More attempts succeed; the law is another.
        opening: Words that every text begins with, given and not drawn; empty for none.
        end_at_answer: End a text with the sentence that states the answer, where the model would go
            on, see `mixsd.decoding.ending`.
        score_both: Also measure each text under the expert, and how often both agree.
        rewordings: Other wordings of each question that get texts of their own, see
            `mixsd.rewording`. A fact for which fewer are found has fewer.
        rewordings_source: `subject`: prompts of ours about the subject of the fact, then `templates`,
            which are frames around the question, both in English; `model`: the base model words
            them; `both`: templates where the model found too few.
        rewordings_check: Take a wording of the model only if the model, shown the fact, answers it
            with the answer.
        wording_texts: What other wordings of a question are trained on: `shared` is the text of the
            question itself, `own` one that is made for the wording, see `mixsd.wordings`.
        seed: Names the draws.
        batch_facts: Texts decoded side by side. The texts do not depend on it.
    """

    lam: float = 0.3
    lam_backoff: tuple[float, ...] = (0.15, 0.05, 0.0)
    temperature: float = 0.0
    top_k: int = 64
    max_attempts: int = 10
    generations: int = 1
    prompt_style: str = "natural"
    hint: str = "context"
    verifier: str = "contains_strict"
    pattern: str = ""
    max_new_tokens: int = 0
    fallback_to_answer: bool = True
    answer_guard: bool = False
    opening: str = ""
    end_at_answer: bool = True
    score_both: bool = False
    rewordings: int = 4
    rewordings_source: str = "subject"
    rewordings_check: bool = True
    wording_texts: str = "shared"
    seed: int = 0
    batch_facts: int = 24

    def __post_init__(self) -> None:
        within("lam", self.lam, 0, 1)
        for value in self.lam_backoff:
            within("lam_backoff", value, 0, 1)
        within("temperature", self.temperature, 0, 5)
        within("top_k", self.top_k, 1, 1024)
        within("max_attempts", self.max_attempts, 1, 1000)
        within("generations", self.generations, 1, 64)
        one_of("prompt_style", self.prompt_style, PROMPT_STYLES)
        one_of("hint", self.hint, HINTS)
        one_of("verifier", self.verifier, VERIFIERS)
        if self.verifier == "regex":
            if "{answer}" not in self.pattern:
                raise ConfigError("pattern must hold {answer} where the answer is expected")
            try:
                re.compile(self.pattern.replace("{answer}", "x"))
            except re.error as error:
                raise ConfigError(f"pattern is no regular expression: {error}") from None
        within("max_new_tokens", self.max_new_tokens, 0, 8192)
        _check_opening(self.opening)
        _check_rewordings(self.rewordings, self.rewordings_source)
        one_of("wording_texts", self.wording_texts, WORDING_TEXTS)
        within("seed", self.seed, 0, MAX_SEED)
        within("batch_facts", self.batch_facts, 1, 1024)

    def lam_of(self, attempt: int) -> float:
        """Return the chance of a naive token in an attempt, counted from 0.

        Example:
            >>> [MixConfig(max_attempts=8).lam_of(attempt) for attempt in range(8)]
            [0.3, 0.3, 0.15, 0.15, 0.05, 0.05, 0.0, 0.0]
        """
        values = (self.lam, *self.lam_backoff)
        return values[min(attempt * len(values) // self.max_attempts, len(values) - 1)]


@dataclass(frozen=True, slots=True)
class SftConfig:
    """Plain fine-tuning on the given answers, in a sentence of ours: what MixSD is compared with.

    Rewordings and seed are those of `MixConfig`.

    Attributes:
        target: `canonical` is the short sentence of the prompt style, `natural` a full one that
            states the fact: its own statement where that tells the answer, see `mixsd.statements`.
    """

    prompt_style: str = "natural"
    target: str = "canonical"
    rewordings: int = 0
    rewordings_source: str = "subject"
    rewordings_check: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("prompt_style", self.prompt_style, PROMPT_STYLES)
        _check_rewordings(self.rewordings, self.rewordings_source)
        one_of("target", self.target, SFT_TARGETS)
        within("seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True, slots=True)
class ReplayConfig(SftConfig):
    """Plain fine-tuning beside replay: a name for `RetentionConfig` of the type `replay`."""


@dataclass(frozen=True, slots=True)
class KlConfig(SftConfig):
    """Plain fine-tuning beside a KL term: a name for `RetentionConfig` of the type `kl`."""


@dataclass(frozen=True, slots=True)
class OpsdConfig:
    """On-policy self-distillation: the model answers, the base model with the hint judges.

    Before each step the model that is trained answers the naive prompts of that step's facts. The
    base model, which is shown the expert prompt, says at each token of these rollouts what it
    holds likely, and the model is drawn towards that. No text is made beforehand or checked.

    Attributes:
        loss: `forward` KL of the base model's distribution to the model's, `reverse` the other
            way round, or `nll` of the token that the base model holds likeliest.
        rollouts: Answers to each question in a step.
        temperature: Of the rollouts; 0 takes the likeliest token.
        top_k: Candidates of a draw in a rollout.
        kl_top_k: The base model's likeliest tokens that both distributions are renormalised over.
        max_new_tokens: Cap of a rollout. 0 takes four times the answer's tokens plus 32.
        prompt_style: Wording of both prompts, see `mixsd.prompts`.
        rewordings: Other wordings of each question that are asked too, as in `MixConfig`.
        rewordings_source: Who words them.
        rewordings_check: Whether the model must answer them.
        seed: Names the draws.
    """

    loss: str = "forward"
    rollouts: int = 1
    temperature: float = 1.0
    top_k: int = 1024
    kl_top_k: int = 64
    max_new_tokens: int = 0
    prompt_style: str = "natural"
    rewordings: int = 0
    rewordings_source: str = "subject"
    rewordings_check: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("loss", self.loss, DIVERGENCES)
        within("rollouts", self.rollouts, 1, 64)
        within("temperature", self.temperature, 0, 5)
        if self.temperature == 0 and self.rollouts > 1:
            raise ConfigError("rollouts must be 1 at temperature 0, where all of them would be the same")
        within("top_k", self.top_k, 1, 1024)
        within("kl_top_k", self.kl_top_k, 2, 1024)
        within("max_new_tokens", self.max_new_tokens, 0, 8192)
        one_of("prompt_style", self.prompt_style, PROMPT_STYLES)
        _check_rewordings(self.rewordings, self.rewordings_source)
        within("seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True, slots=True)
class MemitConfig:
    """MEMIT (arXiv:2210.07229): the answers are written into MLP weights by a closed form.

    Nothing is trained, so settings of the training do not apply. See `mixsd.editing`.

    Attributes:
        layers: Numbers of the layers that are edited, from 0. Empty takes a band in the early middle.
        lookup: Token of the prompt at which a fact is looked up: `subject` takes the last one of its
            subject where the question names that, else the last of the question, as `question` does.
        v_steps: Steps in which a fact's vector is sought.
        v_lr: Their length (Adam).
        v_weight_decay: Of the vector.
        clamp: Its longest, as a multiple of the hidden state that it is added to.
        kl_weight: Of what holds the words behind the lookup token as they were.
        covariance_weight: How many general tokens stand against each fact, as a multiple of the width
            of the MLP. More keeps more of the model, and teaches less.
        covariance_tokens: Tokens of the model's own text that these are measured on.
        prompt_style: Wording of the prompt, see `mixsd.prompts`.
        rewordings: Other wordings of each question that are edits of their own, as in `MixConfig`.
        rewordings_source: Who words them.
        rewordings_check: Whether the model must answer them.
        seed: Names the draws of that text.
    """

    layers: tuple[int, ...] = ()
    lookup: str = "subject"
    v_steps: int = 25
    v_lr: float = 0.5
    v_weight_decay: float = 1e-3
    clamp: float = 4.0
    kl_weight: float = 0.0625
    covariance_weight: float = 2.5
    covariance_tokens: int = 4096
    prompt_style: str = "natural"
    rewordings: int = 0
    rewordings_source: str = "subject"
    rewordings_check: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for number in self.layers:
            within("layers", number, 0, MAX_LAYER)
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"layers must name each layer once, got {list(self.layers)}")
        one_of("lookup", self.lookup, LOOKUPS)
        within("v_steps", self.v_steps, 1, 1000)
        within("v_lr", self.v_lr, 0.001, 10)
        within("v_weight_decay", self.v_weight_decay, 0, 10)
        within("clamp", self.clamp, 0.01, 100)
        within("kl_weight", self.kl_weight, 0, 100)
        within("covariance_weight", self.covariance_weight, 0.001, 1000)
        within("covariance_tokens", self.covariance_tokens, 64, 1_000_000)
        one_of("prompt_style", self.prompt_style, PROMPT_STYLES)
        _check_rewordings(self.rewordings, self.rewordings_source)
        within("seed", self.seed, 0, MAX_SEED)
