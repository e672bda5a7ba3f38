"""Makes the supervision of a run, by whatever method it has, and takes from the cache what is there."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mixsd.cache import SupervisionCache
from mixsd.cache_key import keys_of
from mixsd.config import MemitConfig, MixConfig, OpsdConfig, Plan
from mixsd.editing import memit
from mixsd.facts import Fact
from mixsd.generation import Generation, plain
from mixsd.models.load import Base
from mixsd.objectives import opsd
from mixsd.progress import OnProgress, Progress, silent
from mixsd.rewording.writing import reworded
from mixsd.supervision import Supervision
from mixsd.units import Unit, units_of
from mixsd.wordings import SharedTexts

OnRecords = Callable[[Sequence[Supervision]], None]

log = logging.getLogger(__name__)

_LOOKED_UP_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Supervised:
    """What making supervision amounted to.

    Attributes:
        reused: Records that were taken from the cache.
        report: How the others were made, see `Generation.report`; empty for plain targets.
        rewordings: How rewordings were found, see `mixsd.rewording`; empty if none were wanted.
    """

    reused: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)
    rewordings: Mapping[str, Any] = field(default_factory=dict)

    def warnings(self) -> Iterator[str]:
        """Yield what a user should know of how it went."""
        for reason in self.report.get("reasons", ()):
            yield f"texts were decoded the slow way: {reason}"
        if halvings := self.report.get("halvings"):
            slots = self.report["slots"]
            yield f"memory ran out {halvings} times: texts were decoded {slots} at a time in the end"
        if self.rewordings:
            wanted = self.rewordings["wanted"]
            made = self.rewordings["by_model"] + self.rewordings["by_templates"]
            if made < wanted:
                yield f"{made} of {wanted} rewordings were found: facts that have fewer are trained on fewer"

    def to_json(self) -> dict[str, Any]:
        """Return how it went as plain data."""
        told = {"rewordings": dict(self.rewordings)} if self.rewordings else {}
        return {"reused": self.reused, **self.report, **told}


def supervise(
    base: Base,
    facts: Sequence[Fact],
    plan: Plan,
    *,
    on_records: OnRecords,
    done: Collection[tuple[str, int]] = frozenset(),
    on_progress: OnProgress = silent,
    cache: SupervisionCache | None = None,
    beside: Sequence[Fact] = (),
) -> Supervised:
    """Make the supervision that is missing, by the plan's method. See `mixsd.generation`.

    Args:
        on_records: Given records as they are finished, in any order.
        cache: Records that it holds are handed on first and not made; those that are made are put
            into it. Methods that take the plain answers make their records too fast to need it.
        beside: Facts that are evaluated with these and not taught: what is asked of them is no rewording.
    """
    worded = reworded(base, facts, plan.method, beside=beside, on_progress=on_progress)
    facts = worded.facts
    if isinstance(plan.method, OpsdConfig):
        for record in opsd.records_of(base, facts, plan.method, done=done, on_progress=on_progress):
            on_records([record])
        return Supervised(rewordings=worded.report)
    if isinstance(plan.method, MemitConfig):
        for record in memit.records_of(base, facts, plan.method, done=done, on_progress=on_progress):
            on_records([record])
        return Supervised(rewordings=worded.report)
    if not isinstance(plan.method, MixConfig):
        records = plain(
            base,
            facts,
            prompt_style=plan.method.prompt_style,
            seed=plan.method.seed,
            natural=plan.method.target == "natural",
            done=done,
            on_progress=on_progress,
        )
        for record in records:
            on_records([record])
        return Supervised(rewordings=worded.report)
    if plan.method.wording_texts == "shared":
        shared = SharedTexts(base, facts, plan.method, done=done, on_records=on_records)
        facts, done, on_records = shared.facts, shared.done, shared.hand_on
        on_progress = shared.counting_all(on_progress)
    total = sum(1 for _ in units_of(facts, plan.generations))
    reused: set[tuple[str, int]] = set()
    keep = on_records
    if cache is not None:
        cached = _Cached(base, facts, plan.method, cache, on_records)
        reused, keep = cached.hand_on(done, on_progress), cached.keep
    had = {*done, *reused}
    generation = Generation(base, plan.method, done=had, total=total, on_progress=on_progress)
    for record in generation.records(facts):
        keep([record])
    return Supervised(len(reused), generation.report(), worded.report)


class _Cached:
    """Takes the records of a run from the cache, and puts those there that are made."""

    def __init__(
        self,
        base: Base,
        facts: Sequence[Fact],
        config: MixConfig,
        cache: SupervisionCache,
        on_records: OnRecords,
    ) -> None:
        self._units = list(units_of(facts, config.generations))
        self._facts = {fact.key: fact for fact in facts}
        self._key = keys_of(base, config)
        self._cache = cache
        self._on_records = on_records

    def hand_on(self, done: Collection[tuple[str, int]], on_progress: OnProgress) -> set[tuple[str, int]]:
        """Hand on what is there of what is missing; return which records that are."""
        missing = [unit for unit in self._units if unit.id not in done]
        before = len(self._units) - len(missing)
        reused: set[tuple[str, int]] = set()
        for start in range(0, len(missing), _LOOKED_UP_AT_ONCE):
            on_progress(Progress(before + len(reused), len(self._units), "targets"))
            keys = {self._key(unit): unit.id for unit in missing[start : start + _LOOKED_UP_AT_ONCE]}
            found = self._cache.get_many(keys)
            if found:
                self._on_records(list(found.values()))
                reused.update(keys[key] for key in found)
        log.info("%d of %d targets were made before and taken from the cache", len(reused), len(missing))
        return reused

    def keep(self, made: Sequence[Supervision]) -> None:
        """Hand on records that were made, then put them into the cache."""
        self._on_records(made)
        self._cache.put_many((self._key(self._unit_of(record)), record) for record in made)

    def _unit_of(self, record: Supervision) -> Unit:
        return Unit(self._facts[record.fact_key], record.question, record.generation)
