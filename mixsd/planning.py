"""Which attempt is made next, and which one is kept.

The attempts at a target are numbered, and the successful one with the smallest number is kept. So
they may be made in any order, several at a time or one after another, with the same result.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from mixsd.config import MixConfig
from mixsd.decoding.choice import Candidates
from mixsd.decoding.ending import AnswerEnding
from mixsd.decoding.guard import AnswerGuard
from mixsd.decoding.memo import Node
from mixsd.decoding.rng import Draw
from mixsd.decoding.text import Prompts, Text
from mixsd.models.load import Base
from mixsd.prompts import CAP_PER_ANSWER_TOKEN, STYLES, PromptStyle, hint_of
from mixsd.supervision import OPENED
from mixsd.units import Unit
from mixsd.verifiers import verifier

MEMO_TOKENS: Final = 20_000
"""Tokens of attempts at one question after which what they found out is forgotten."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What a text costs the model: see `mixsd.supervision.Supervision`."""

    nats_per_token: float
    expert_nats_per_token: float | None = None
    agreement: float | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A target under way by one of the variants.

    Attributes:
        waiting: Attempts that were not begun.
        under_way: Texts of those that were.
        failed: Texts of those that ended and were not accepted, by attempt.
        kept: The accepted text with the smallest attempt so far.
    """

    unit: Unit
    variant: int
    config: MixConfig
    prompts: Prompts
    cap: int
    waiting: list[int]
    opening: tuple[int, ...] = ()
    guard: AnswerGuard | None = None
    ending: AnswerEnding | None = None
    under_way: dict[int, Text] = field(default_factory=dict)
    failed: dict[int, Text] = field(default_factory=dict)
    kept: Text | None = None
    measures: Measures | None = None
    too_long: bool = False

    @property
    def settled(self) -> bool:
        """Whether no attempt can change the outcome any more."""
        return not (self.waiting or self.under_way)

    @property
    def last(self) -> Text:
        """The kept text, else that of the last attempt."""
        return self.kept or self.failed[max(self.failed)]


@dataclass(slots=True, eq=False)
class _Question:
    """Jobs with the same prompts: one slot makes them one after another, and they share a memo."""

    jobs: list[Job]
    memo: Node[Candidates] = field(default_factory=Node)
    remembered: int = 0

    @property
    def under_way(self) -> int:
        return sum(len(job.under_way) for job in self.jobs)

    def remember(self, tokens: int) -> None:
        """Count what the memo may hold; begin a new one when it is large, so that memory is bounded."""
        self.remembered += tokens
        if self.remembered > MEMO_TOKENS:
            self.memo, self.remembered = Node(), 0

    def next_job(self) -> Job | None:
        """Return the job that an attempt is made for, sooner one that none is under way for."""
        waiting = [job for job in self.jobs if job.waiting]
        return min(waiting, key=lambda job: len(job.under_way)) if waiting else None


def distinct_attempts(config: MixConfig) -> list[int]:
    """Return the attempts that can differ.

    At temperature 0 every attempt at `lam` 0, or at 1, is the same text: only the first is made.

    Example:
        >>> distinct_attempts(MixConfig(lam=0.0, lam_backoff=(), max_attempts=5))
        [0]
    """
    seen: set[float] = set()
    attempts = []
    for attempt in range(config.max_attempts):
        lam = config.lam_of(attempt)
        fixed = config.temperature == 0.0 and lam in {0.0, 1.0}
        if fixed and lam in seen:
            continue
        seen.add(lam)
        attempts.append(attempt)
    return attempts


class Planner:
    """Hands out texts to make, and decides what becomes of them."""

    def __init__(
        self,
        base: Base,
        variants: Sequence[MixConfig],
        units: Iterator[Unit],
        max_tokens: int,
        had: Sequence[Collection[tuple[str, int]]] = (),
    ) -> None:
        """Plan the texts of `units`, less the ids that each variant `had`."""
        self._base = base
        self._variants = variants
        self._had = had
        self._max_tokens = max_tokens
        self._style = STYLES[variants[0].prompt_style]
        self._verify = verifier(variants[0].verifier, variants[0].pattern)
        self._units = units
        self._ahead: Unit | None = next(units, None)
        self._open: list[_Question] = []
        self._of: dict[Text, tuple[_Question, Job]] = {}
        self._hopeless: list[Job] = []
        self._superseded: list[Text] = []

    def next_text(self) -> Text | None:
        """Return the next attempt to make, or None if there is nothing to do now.

        First come questions that no attempt is under way for, then new ones, then, where those
        have run out, further attempts at the questions with the fewest under way.
        """
        question = next((each for each in self._open if not each.under_way and each.next_job()), None)
        question = question or self._new_question()
        if question is None:
            waiting = [each for each in self._open if each.next_job()]
            question = min(waiting, key=lambda each: each.under_way, default=None)
        if question is None or (job := question.next_job()) is None:
            return None
        return self._begin(question, job)

    def ended(self, text: Text, measure: Callable[[Text], Measures]) -> Job | None:
        """Take note of a text that ended; return its job if that settles it.

        Args:
            text: From `next_text`.
            measure: Called at once if the record may be of this text.
        """
        if text not in self._of:
            return None  # it ended beside the one that superseded it
        question, job = self._of.pop(text)
        del job.under_way[text.draw.attempt]
        if text.finish == "stop" and self._accepts(job, text):
            job.kept, job.measures = text, measure(text)
            job.waiting = [attempt for attempt in job.waiting if attempt < text.draw.attempt]
            for attempt in [each for each in job.under_way if each > text.draw.attempt]:
                rival = job.under_way.pop(attempt)
                del self._of[rival]
                self._superseded.append(rival)
        else:
            job.failed[text.draw.attempt] = text
            is_last = not job.waiting and text.draw.attempt > max(job.under_way, default=-1)
            if is_last and job.kept is None and text is job.last:
                job.measures = measure(text)
        question.remember(len(text.tokens))
        if not job.settled:
            return None
        question.jobs.remove(job)
        if not question.jobs:
            self._open.remove(question)
        return job

    def superseded(self) -> list[Text]:
        """Return, once, texts under way that can no longer be the one to keep."""
        texts, self._superseded = self._superseded, []
        return texts

    def hopeless(self) -> list[Job]:
        """Return, once, jobs that do not fit the model."""
        jobs, self._hopeless = self._hopeless, []
        return jobs

    def _accepts(self, job: Job, text: Text) -> bool:
        fact = job.unit.fact
        return self._states((fact.answer, *fact.aliases), self._base.chat.decode(text.tokens))

    def _states(self, answers: Sequence[str], text: str) -> bool:
        return self._verify(text, answers)

    def _begin(self, question: _Question, job: Job) -> Text:
        attempt = job.waiting.pop(0)
        unit = job.unit
        draw = Draw(job.config.seed, unit.fact.key, unit.generation, attempt)
        lam = job.config.lam_of(attempt)
        text = Text(
            job.prompts,
            draw,
            lam,
            job.cap,
            memo=question.memo,
            guard=job.guard,
            ending=job.ending,
            tokens=list(job.opening),
            picks=[OPENED] * len(job.opening),
        )
        job.under_way[attempt] = text
        self._of[text] = (question, job)
        return text

    def _new_question(self) -> _Question | None:
        """Return the jobs of the next question that fits, or None at the end of the units."""
        while (first := self._ahead) is not None:
            units = [first]
            self._ahead = next(self._units, None)
            while self._ahead is not None and _alike(self._ahead, first):
                units.append(self._ahead)
                self._ahead = next(self._units, None)
            question = _Question([job for unit in units for job in self._jobs(unit)])
            if not question.jobs[0].too_long:
                self._open.append(question)
                return question
            self._hopeless += question.jobs
        return None

    def _jobs(self, unit: Unit) -> Iterator[Job]:
        chat, answers = self._base.chat, (unit.fact.answer, *unit.fact.aliases)
        for variant, config in enumerate(self._variants):
            if self._had and unit.id in self._had[variant]:
                continue
            opening = tuple(chat.plain_ids(config.opening)) if config.opening else ()
            most = self._max_tokens - len(opening)
            room = room_of(self._base, unit, self._style, config.max_new_tokens, most, hint=config.hint)
            cap = room.cap + len(opening)
            job = Job(unit, variant, config, room.prompts, cap, distinct_attempts(config), opening)
            job.too_long = not room.fits
            if config.answer_guard:
                job.guard = AnswerGuard(chat.decode_raw, answers, chat.stop_ids)
            if config.end_at_answer:
                job.ending = AnswerEnding(
                    chat.decode_raw, partial(self._states, answers), answers, chat.end_of_turn
                )
            yield job


@dataclass(frozen=True, slots=True)
class Room:
    """Both prompts of a target, how long its text may be, and whether the model holds them."""

    prompts: Prompts
    cap: int
    fits: bool


def room_of(
    base: Base,
    unit: Unit,
    style: PromptStyle,
    max_new_tokens: int,
    max_tokens: int,
    *,
    hint: str = "context",
) -> Room:
    """Return the prompts of a target, and how long its text may be.

    Args:
        base: The base model.
        unit: What is asked.
        style: Wording of the prompts.
        max_new_tokens: Cap of the text; 0 takes it from the length of the answer.
        max_tokens: Most tokens of prompt and text together.
        hint: `context` shows the expert the fact's own statement if there is one and it fits, `answer`
            the plain answer.
    """
    length = len(base.chat.target_ids(style.target_text(unit.fact.answer)))
    cap = max_new_tokens or CAP_PER_ANSWER_TOKEN * length + style.headroom
    shown = hint_of(unit.fact, style) if hint == "context" else ""
    prompts = _prompts(base, unit, style, shown)
    if shown and prompts.longest + cap > max_tokens:
        prompts = _prompts(base, unit, style, "")
    return Room(prompts, cap, prompts.longest + cap <= max_tokens)


def _prompts(base: Base, unit: Unit, style: PromptStyle, hint: str) -> Prompts:
    return Prompts(
        expert=tuple(base.chat.prompt_ids(style.expert_prompt(unit.question, unit.fact.answer, hint))),
        naive=tuple(base.chat.prompt_ids(style.naive_prompt(unit.question))),
    )


def _alike(unit: Unit, other: Unit) -> bool:
    return unit.fact is other.fact and unit.question == other.question
