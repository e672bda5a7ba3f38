"""Facts to supervision: attempts, checks, retries.

Every attempt draws afresh; the first that ends by itself and states the answer is kept. A record
depends on its fact and on the settings alone, so a run that was killed goes on where it stopped
and ends with the same bytes.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mixsd.config import MixConfig
from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.suited import most_tokens
from mixsd.decoding.text import Counters, Sampling
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.planning import Job, Planner
from mixsd.progress import OnProgress, Progress, silent
from mixsd.prompts import STYLES
from mixsd.records import Recorder, plain_record
from mixsd.rewording.writing import reworded
from mixsd.supervision import Supervision
from mixsd.units import Unit, units_of


@dataclass(frozen=True, slots=True)
class Made:
    """A record, and which of the settings it was made by."""

    variant: int
    record: Supervision


def shared_settings(config: MixConfig) -> MixConfig:
    """Return what settings must have in common for one run to make the texts of all of them."""
    return replace(config, lam=0.0, lam_backoff=(), max_attempts=1)


class Generation:
    """Makes supervision, many texts side by side, from facts that may come one by one.

    Memory is bounded by the number of texts side by side, not by that of the facts.
    """

    def __init__(
        self,
        base: Base,
        *variants: MixConfig,
        knobs: Knobs | None = None,
        done: Collection[tuple[str, int]] = frozenset(),
        had: Sequence[Collection[tuple[str, int]]] = (),
        total: int | None = None,
        on_progress: OnProgress = silent,
    ) -> None:
        """Prepare to make the supervision that is missing.

        Args:
            base: The frozen model.
            variants: Settings, which may differ in `lam`, `lam_backoff` and `max_attempts`. Each
                fact is supervised by each of them; what one finds out, the others use.
            knobs: How fast; the default is for one model on this device.
            done: (fact key, generation) of records that exist already of every variant.
            had: For each variant, those that exist of it beside `done`; empty for none.
            total: Number of targets, if it is known, done ones included.
            on_progress: Called before every forward pass, with the number of finished targets.
                May raise to stop.
        """
        first = variants[0]
        if len({shared_settings(each) for each in variants}) > 1:
            raise ValueError("variants may differ in lam, lam_backoff and max_attempts alone")
        self._base = base
        self._variants = variants
        self._had = [frozenset((*done, *own)) for own in had or [()] * len(variants)]
        self._finished = len(frozenset(done)) + sum(map(len, had))
        self._total = total
        self._on_progress = on_progress
        sampling = Sampling(first.temperature, first.top_k, base.chat.stop_ids)
        self._engine = Engine(base.model, sampling, knobs=knobs or Knobs(slots=first.batch_facts))
        self._recorder = Recorder(base, self._engine)
        self._max_tokens = most_tokens(base.model, base.max_tokens)

    @property
    def counters(self) -> Counters:
        """The work done so far."""
        return self._engine.counters

    def report(self) -> dict[str, object]:
        """Return how the supervision was made: the way of running the model, and the work."""
        way = self._engine.way
        return {"way": way.name, "reasons": list(way.reasons), **self.counters.to_json()}

    def records(self, facts: Iterable[Fact]) -> Iterator[Supervision]:
        """Yield the records of one variant as they are finished."""
        return (made.record for made in self.made(facts))

    def made(self, facts: Iterable[Fact]) -> Iterator[Made]:
        """Yield records as they are finished: those of a fact in any order, facts about in order.

        Args:
            facts: What to teach, each with its context: what the expert is shown.
        """
        planner = Planner(self._base, self._variants, self._units(facts), self._max_tokens, self._had)
        while True:
            self._tell()
            while self._engine.free and (text := planner.next_text()) is not None:
                self._engine.admit(text)
            yield from self._yielded(planner.hopeless())
            if self._engine.idle:
                return
            for text in self._engine.step():
                job = planner.ended(text, lambda text: self._recorder.measure(text, self._variants[0]))
                for rival in planner.superseded():
                    self._engine.cancel(rival)
                if job is not None:
                    yield from self._yielded([job])

    def _units(self, facts: Iterable[Fact]) -> Iterator[Unit]:
        for fact in facts:
            for unit in units_of([fact], self._variants[0].generations):
                if any(unit.id not in had for had in self._had):
                    yield unit

    def _yielded(self, jobs: Iterable[Job]) -> Iterator[Made]:
        for job in jobs:
            self._finished += 1
            yield Made(job.variant, self._recorder.record(job))

    def _tell(self) -> None:
        total = self._finished if self._total is None else self._total
        self._on_progress(Progress(self._finished, max(total, self._finished), "targets"))


def sweep(
    base: Base,
    facts: Iterable[Fact],
    config: MixConfig,
    lams: Iterable[float],
    *,
    on_progress: OnProgress = silent,
) -> Iterator[tuple[float, Supervision]]:
    """Yield the supervision of several values of `lam`, each with its own exact law.

    The runs share prompts, choices and coins, so they cost less than one after another and their
    comparison varies less. Other wordings of a question get texts only if those are their own.
    """
    values = list(lams)
    if config.wording_texts == "shared":
        facts = (replace(fact, train_paraphrases=()) for fact in facts)
    else:
        facts = reworded(base, list(facts), config, on_progress=on_progress).facts
    variants = [replace(config, lam=lam, lam_backoff=()) for lam in values]
    for made in Generation(base, *variants, on_progress=on_progress).made(facts):
        yield values[made.variant], made.record


def plain(
    base: Base,
    facts: Iterable[Fact],
    *,
    prompt_style: str,
    seed: int,
    natural: bool = False,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
) -> Iterator[Supervision]:
    """Yield the supervision of plain fine-tuning: the given answer, in a sentence of ours.

    Args:
        natural: In a full sentence that states the fact, see `mixsd.statements`.
    """
    every = list(units_of(facts, 1))
    for place, unit in enumerate(every):
        on_progress(Progress(place, len(every), "targets"))
        if unit.id not in done:
            yield plain_record(base, unit, STYLES[prompt_style], seed=seed, natural=natural)
    on_progress(Progress(len(every), len(every), "targets"))
