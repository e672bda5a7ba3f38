"""Facts to supervision: attempts, checks, retries.

Every attempt draws afresh; the first that ends by itself and states the answer is kept. A record
depends on its fact and on the settings alone, so a run that was killed goes on where it stopped
and ends with the same bytes.
"""

import hashlib
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mixsd.answers import Verifier, verifier
from mixsd.config import MixConfig
from mixsd.decoding.engine import Counters, Engine, Prompts, Sampling, Text
from mixsd.decoding.rng import Draw
from mixsd.decoding.rows import Rows, logits_alone
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent
from mixsd.prompts import STYLES, PromptStyle
from mixsd.supervision import EXPERT, NAIVE, Finish, Method, Supervision

OnRecords = Callable[[Sequence[Supervision]], None]

CAP_PER_ANSWER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """One target to make: a fact, the wording of its question, and which text of it."""

    fact: Fact
    question: str
    generation: int

    @property
    def id(self) -> tuple[str, int]:
        return self.fact.key, self.generation


def units_of(facts: Sequence[Fact], generations: int) -> Iterator[Unit]:
    """Yield the targets of each fact: its question first, then each training paraphrase."""
    for fact in facts:
        for wording, question in enumerate((fact.question, *fact.train_paraphrases)):
            for generation in range(generations):
                yield Unit(fact, question, wording * generations + generation)


class _Job:
    """A unit under way: its prompts, cap, and how far its attempts have come."""

    def __init__(self, unit: Unit, prompts: Prompts, cap: int, attempts: Sequence[int]) -> None:
        self.unit = unit
        self.prompts = prompts
        self.cap = cap
        self.waiting = list(attempts)
        self.made: list[Text] = []
        self.kept: Text | None = None


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


def generate(
    base: Base,
    facts: Sequence[Fact],
    config: MixConfig,
    *,
    on_records: OnRecords,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
) -> Counters:
    """Make the supervision of every fact that has none yet.

    Args:
        base: The frozen model.
        facts: What to teach.
        config: How.
        on_records: Given records as they are finished, those of one batch in any order.
        done: (fact key, generation) of records that exist already.
        on_progress: Called before every forward pass, with the number of finished targets.

    Returns:
        The work done in this call.
    """
    style = STYLES[config.prompt_style]
    sampling = Sampling(config.temperature, config.top_k, base.chat.stop_ids, base.chat.pad_id)
    engine = Engine(base.model, sampling)
    every = list(units_of(facts, config.generations))
    units = [unit for unit in every if unit.id not in done]
    finished = len(every) - len(units)

    def report() -> None:
        on_progress(Progress(finished, len(every), "targets"))

    report()
    for start in range(0, len(units), config.batch_facts):
        maker = _Maker(base, engine, style, config)
        for records in maker.make(units[start : start + config.batch_facts], report):
            on_records(records)
            finished += len(records)
            report()
    return engine.counters


class _Maker:
    """Makes the supervision of one batch of units."""

    def __init__(self, base: Base, engine: Engine, style: PromptStyle, config: MixConfig) -> None:
        self._base = base
        self._engine = engine
        self._style = style
        self._config = config
        self._verify: Verifier = verifier(config.verifier, config.pattern)

    def make(self, units: Sequence[Unit], on_step: Callable[[], None]) -> Iterator[list[Supervision]]:
        """Yield records as units are finished."""
        jobs = [self._start(unit) for unit in units]
        fits = [job for job in jobs if not self._too_long(job)]
        if too_long := [self._give_up(job) for job in jobs if self._too_long(job)]:
            yield too_long
        if not fits:
            return
        on_step()
        prefilled = self._engine.prefill([job.prompts for job in fits])
        open_jobs = list(enumerate(fits))
        while open_jobs:
            self._round(open_jobs, prefilled, on_step)
            ended = [job for _, job in open_jobs if job.kept is not None or not job.waiting]
            open_jobs = [(place, job) for place, job in open_jobs if job.kept is None and job.waiting]
            if ended:
                yield [self._record(job) for job in ended]

    def _start(self, unit: Unit) -> _Job:
        chat, style, answer = self._base.chat, self._style, unit.fact.answer
        prompts = Prompts(
            expert=tuple(chat.prompt_ids(style.expert_prompt(unit.question, answer))),
            naive=tuple(chat.prompt_ids(style.naive_prompt(unit.question))),
        )
        length = len(chat.target_ids(style.target_text(answer)))
        cap = self._config.max_new_tokens or CAP_PER_ANSWER_TOKEN * length + style.headroom
        return _Job(unit, prompts, cap, distinct_attempts(self._config))

    def _too_long(self, job: _Job) -> bool:
        longest = max(len(job.prompts.expert), len(job.prompts.naive))
        return longest + job.cap > self._base.max_tokens

    def _round(self, jobs: Sequence[tuple[int, _Job]], prefilled: Rows, on_step: Callable[[], None]) -> None:
        """Make the next attempts of every open job.

        Where few are open, each makes several at once: the earliest success is kept, exactly as
        if they had been made one after another.
        """
        side_by_side = max(1, self._config.batch_facts // len(jobs))
        texts: list[tuple[_Job, Text]] = []
        for place, job in jobs:
            for attempt in job.waiting[:side_by_side]:
                draw = Draw(self._config.seed, job.unit.fact.key, job.unit.generation, attempt)
                lam = self._config.lam_of(attempt)
                texts.append((job, Text(place, job.prompts, draw, lam, job.cap)))
            del job.waiting[:side_by_side]
        self._engine.decode(prefilled, [text for _, text in texts], on_step)
        for job, text in texts:
            if job.kept is None:
                job.made.append(text)
                if text.finish == "stop" and self._accepts(job.unit.fact, text):
                    job.kept = text

    def _accepts(self, fact: Fact, text: Text) -> bool:
        return self._verify(self._base.chat.decode(text.tokens), (fact.answer, *fact.aliases))

    def _record(self, job: _Job) -> Supervision:
        if job.kept is None and self._config.fallback_to_answer:
            target = self._base.chat.target_ids(self._style.target_text(job.unit.fact.answer))
            return self._supervision(job, target, "", "stop", method="fallback", reason="no_attempt_accepted")
        text = job.kept or job.made[-1]
        picks = "".join(NAIVE if naive else EXPERT for naive in text.picks)
        reason = None if job.kept else ("cap" if text.finish == "cap" else "answer_not_stated")
        finish: Finish = text.finish or "cap"
        return self._supervision(job, text.tokens, picks, finish, text=text, reason=reason)

    def _give_up(self, job: _Job) -> Supervision:
        return self._supervision(job, (), "", "prompt_too_long", reason="prompt_too_long")

    def _supervision(
        self,
        job: _Job,
        tokens: Sequence[int],
        picks: str,
        finish: Finish,
        *,
        text: Text | None = None,
        method: Method = "mixsd",
        reason: str | None = None,
    ) -> Supervision:
        nats = nats_per_token(self._base, job.prompts.naive, tokens) if tokens else None
        return Supervision(
            fact_key=job.unit.fact.key,
            generation=job.unit.generation,
            question=job.unit.question,
            text=self._base.chat.decode(tokens),
            token_ids=tuple(tokens),
            picks=picks,
            attempt=text.draw.attempt if text else 0,
            attempts=len(job.made),
            lam=text.lam if text else 0.0,
            seed=self._config.seed,
            finish_reason=finish,
            verified=method == "mixsd" and reason is None,
            nats_per_token=nats,
            prompt_sha256=prompt_sha256(job.prompts),
            method=method,
            reason=reason,
        )


def plain(
    base: Base,
    facts: Sequence[Fact],
    *,
    prompt_style: str,
    seed: int,
    on_records: OnRecords,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
) -> None:
    """Make the supervision of plain fine-tuning: the given answer, in a sentence of ours.

    The arguments are those of `generate`.
    """
    style = STYLES[prompt_style]
    every = list(units_of(facts, 1))
    for place, unit in enumerate(every):
        on_progress(Progress(place, len(every), "targets"))
        if unit.id in done:
            continue
        prompt = tuple(base.chat.prompt_ids(style.naive_prompt(unit.question)))
        target = base.chat.target_ids(style.target_text(unit.fact.answer))
        too_long = len(prompt) + len(target) > base.max_tokens
        record = Supervision(
            fact_key=unit.fact.key,
            generation=unit.generation,
            question=unit.question,
            text="" if too_long else base.chat.decode(target),
            token_ids=() if too_long else tuple(target),
            picks="",
            attempt=0,
            attempts=0,
            lam=0.0,
            seed=seed,
            finish_reason="prompt_too_long" if too_long else "stop",
            verified=not too_long,
            nats_per_token=None if too_long else nats_per_token(base, prompt, target),
            prompt_sha256=prompt_sha256(Prompts(expert=(), naive=prompt)),
            method="sft",
            reason="prompt_too_long" if too_long else None,
        )
        on_records([record])
    on_progress(Progress(len(every), len(every), "targets"))


def nats_per_token(base: Base, prompt: Sequence[int], tokens: Sequence[int]) -> float:
    """Return the mean loss of `tokens` behind `prompt`, in nats, from a forward pass of its own."""
    logits_TV = logits_alone(base.model, [*prompt, *tokens], last=len(tokens) + 1)[:-1]
    chosen_T1 = logits_TV.new_tensor(list(tokens)).long()[:, None]
    losses_T1 = -logits_TV.log_softmax(-1).gather(-1, chosen_T1)
    return float(losses_T1.mean())


def prompt_sha256(prompts: Prompts) -> str:
    """Return a digest of the token ids of both prompts."""
    digest = hashlib.sha256()
    for ids in (prompts.expert, prompts.naive):
        digest.update(struct.pack(f"<q{len(ids)}q", len(ids), *ids))
    return digest.hexdigest()
