"""Makes mixed texts by one or several settings in one run, and takes from the cache what is there."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mixsd.cache import SupervisionCache
from mixsd.cache_key import keys_of
from mixsd.config import MixConfig
from mixsd.facts import Fact
from mixsd.generation import Generation
from mixsd.models.load import Base
from mixsd.progress import OnProgress, Progress, silent
from mixsd.supervision import Supervision
from mixsd.units import Unit, units_of
from mixsd.wordings import SharedTexts

Ids = Collection[tuple[str, int]]
OnRecords = Callable[[Sequence[Supervision]], None]
OnRecordsOf = Callable[[int, Sequence[Supervision]], None]
"""Given records, and by which of the settings they were made."""

log = logging.getLogger(__name__)

_LOOKED_UP_AT_ONCE: Final = 256


def mix(
    base: Base,
    facts: Sequence[Fact],
    variants: Sequence[MixConfig],
    *,
    on_records: OnRecordsOf,
    done: Sequence[Ids],
    on_progress: OnProgress = silent,
    cache: SupervisionCache | None = None,
) -> tuple[int, Mapping[str, Any]]:
    """Make the texts that are missing, for each of the settings those that it gives alone.

    Args:
        base: The frozen model.
        facts: With all their wordings.
        variants: Settings, which may differ in what `Generation` allows.
        on_records: Given records as they are finished, in any order.
        done: For each of the settings, (fact key, generation) of records that exist already.
        on_progress: Told of the records of all of them. May raise to stop.
        cache: Records that it holds are handed on first and not made; those that are made are put
            into it.

    Returns:
        How many records were taken from the cache, and how the others were made.
    """
    each_total = sum(1 for _ in units_of(facts, variants[0].generations))
    counted = _Counted(on_records, on_progress, sum(map(len, done)), each_total * len(variants))
    parts = [_part(base, facts, config, counted, n, done[n]) for n, config in enumerate(variants)]
    reused, had, keep = 0, [], []
    for part, config in zip(parts, variants, strict=True):
        found: set[tuple[str, int]] = set()
        if cache is None:
            keep.append(part.hand_on)
        else:
            cached = _Cached(base, part.facts, config, cache, part.hand_on)
            found = cached.hand_on(part.done, counted.tell)
            keep.append(cached.keep)
        reused += len(found)
        had.append({*part.done, *found})
    generation = Generation(base, *variants, had=had, on_progress=counted.tell)
    for made in generation.made(parts[0].facts):
        keep[made.variant]([made.record])
    return reused, generation.report()


@dataclass(frozen=True, slots=True)
class _Part:
    """What is to be made by one of the settings: texts of these facts, but for those that are done."""

    facts: Sequence[Fact]
    done: Ids
    hand_on: OnRecords


def _part(
    base: Base, facts: Sequence[Fact], config: MixConfig, counted: "_Counted", number: int, done: Ids
) -> _Part:
    hand_on = partial(counted.hand_on, number)
    if config.wording_texts != "shared":
        return _Part(facts, done, hand_on)
    shared = SharedTexts(base, facts, config, done=done, on_records=hand_on)
    return _Part(shared.facts, shared.done, shared.hand_on)


class _Counted:
    """Hands records on and counts them, whoever made them."""

    def __init__(self, on_records: OnRecordsOf, on_progress: OnProgress, done: int, total: int) -> None:
        self._on_records = on_records
        self._on_progress = on_progress
        self._done = done
        self._total = total

    def hand_on(self, number: int, made: Sequence[Supervision]) -> None:
        self._on_records(number, made)
        self._done += len(made)

    def tell(self, _: Progress, /) -> None:
        """Tell of all records, whatever part of them somebody tells of."""
        self._on_progress(Progress(self._done, max(self._total, self._done), "targets"))


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

    def hand_on(self, done: Ids, on_progress: OnProgress) -> set[tuple[str, int]]:
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
