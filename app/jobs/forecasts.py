"""Forecasts of jobs: what they have to do, by their facts and settings, and how long that takes here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from app.db.base import JsonObject
from app.db.engine import Database
from app.fact_sets import repository as fact_sets
from app.fact_sets.comparing import Counts
from app.fact_sets.errors import FactSetNotFoundError
from app.fact_sets.models import FactSet
from app.fact_sets.reading import Upload
from app.ids import FactSetId, ProjectId
from app.jobs.errors import NotEstimableError
from app.jobs.history import History, history_of, peak_in
from app.jobs.remembering import Lately, Remembered
from app.jobs.variants import variants_of
from mixsd.errors import ConfigError
from mixsd.forecast import asking, rates
from mixsd.forecast.asking import Model
from mixsd.forecast.rates import Forecast, Seconds
from mixsd.forecast.shape import disk_of, kind_of
from mixsd.forecast.work import Changed, Work, together
from mixsd.models.registry import default_cache

AT_CREATION: Final = 200
"""Facts that are looked at while a job is made, which must not take long."""
ASKED_FOR: Final = 1000
"""Facts that are looked at where a forecast is what was asked for."""
LATELY: Final = 10.0
"""Seconds for which new jobs go by what was seen of models and of earlier jobs."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some facts of a set, evenly spread over it. `fact_set_id` is None if they are not stored.

    `bodies` reads them, which need not be done again for a set that was seen.
    """

    bodies: Callable[[], Sequence[JsonObject]]
    n_facts: int
    limit: int
    fact_set_id: FactSetId | None = None


def sample_of(upload: Upload, limit: int) -> Sample:
    """Take facts of those that came along."""
    n_facts = upload.facts.digest.n_facts
    wanted = frozenset(_spread(n_facts, limit))

    def bodies() -> list[JsonObject]:
        return [json.loads(body) for place, (_, body) in enumerate(upload.facts.rows()) if place in wanted]

    return Sample(bodies, n_facts, limit)


def sample_in(session: Session, fact_set: FactSet, limit: int) -> Sample:
    """Take facts of a set, while the session lasts."""
    wanted = _spread(fact_set.n_facts, limit)
    return Sample(
        lambda: fact_sets.bodies_at(session, fact_set.id, wanted), fact_set.n_facts, limit, fact_set.id
    )


def _spread(n_facts: int, limit: int) -> list[int]:
    """Return places from the first to the last, in equal steps.

    Example:
        >>> _spread(3, 10), _spread(10, 4)
        ([0, 1, 2], [0, 2, 5, 7])
    """
    count = min(n_facts, limit)
    return [place * n_facts // count for place in range(count)]


@dataclass(frozen=True, slots=True)
class Made:
    """A forecast with all that it rests on."""

    work: Work
    forecast: Forecast
    device: str
    model: Model
    peak: Seconds | None = None
    """Bytes of the device, or of the process that computes on the CPU, at the peak."""

    def _memory(self) -> JsonObject | None:
        memory = self.work.memory
        if memory is None:
            return None
        sizes = {name: getattr(memory, name) for name in ("device_least", "device_at_once", "host")}
        return {**sizes, "peak": _quantiles(self.peak)}

    @property
    def disk(self) -> int | None:
        """Bytes that the job writes, beside the model; None if the model's sizes are not known."""
        return None if self.work.memory is None else disk_of(self.work.memory.adapter)

    def to_json(self) -> JsonObject:
        """Return what is kept with a job. `work` is what history compares seconds with."""
        work, whole = self.work, self.forecast.seconds
        return {
            "facts": work.facts,
            "sampled": work.sampled,
            "counted_by": work.counted_by,
            "targets": work.targets,
            "steps": work.steps,
            "device": self.device,
            "seconds": _seconds(whole),
            "memory": self._memory(),
            "phases": [
                {
                    "phase": each.work.phase,
                    "units": each.work.units,
                    "unit": each.work.unit,
                    "tokens_read": each.work.read,
                    "tokens_written": each.work.written,
                    "work": each.work.work,
                    "seconds": _seconds(each.seconds),
                }
                for each in self.forecast.phases
            ],
        }


def _quantiles(found: Seconds | None) -> JsonObject | None:
    if found is None:
        return None
    return {"p50": round(found.p50), "p90": round(found.p90), "basis": found.basis, "n": found.n}


def _seconds(found: Seconds | None) -> JsonObject | None:
    if found is None:
        return None
    return {"p50": round(found.p50, 3), "p90": round(found.p90, 3), "basis": found.basis, "n": found.n}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is forecast: a job's settings, as `JobCreate.settings` gives them.

    `changes` says what became of the facts of its parent, if it has one.
    """

    base_model: str
    revision: str | None
    settings: JsonObject
    changes: Counts | None = None


class Forecaster:
    """Makes forecasts for one deployment. Asks no hub, and reads no more than it says.

    New jobs are many and must be made fast: for them it goes, for `LATELY`, by what it last saw of
    models and of earlier jobs.
    """

    def __init__(self, models: Path | None, device: str) -> None:
        """Prepare to forecast.

        Args:
            models: Where base models are kept; None for the usual place.
            device: That of the setting.
        """
        self._cache = models or default_cache()
        self._device = device
        self._models: Lately[tuple[str, str | None], Model] = Lately(LATELY)
        self._histories: Lately[str, History] = Lately(LATELY)

    def at_creation(
        self,
        database: Database,
        wanted: Wanted,
        upload: Upload | None,
        *,
        project_id: ProjectId,
        fact_set_id: str | None,
    ) -> JsonObject | None:
        """Return the forecast that a new job is stored with, None if there can be none.

        What must be read for it is read before the transaction of the job, so that none that writes
        waits for it; of facts that were seen before, nothing.
        """
        model = self._models.get((wanted.base_model, wanted.revision), lambda: self._model(wanted))
        history = self._histories.get(wanted.base_model, lambda: _history_in(database, wanted.base_model))
        device = history.device or kind_of(self._device)
        try:
            if upload is not None:
                work = _work_of(sample_of(upload, AT_CREATION), wanted, model, device)
            else:
                seen = _REMEMBERED.get(_key(fact_set_id, AT_CREATION, wanted, model, device))
                work = seen or _work_in(database, fact_set_id, wanted, model, device, project_id=project_id)
        except (FactSetNotFoundError, NotEstimableError):
            return None
        return _made(work, history, wanted, model, device).to_json()

    def make(self, session: Session, wanted: Wanted, sample: Sample) -> Made:
        """Forecast a job by what is known at this moment.

        Raises:
            NotEstimableError: The library would refuse its settings.
        """
        history = history_of(session, wanted.base_model)
        device = history.device or kind_of(self._device)
        model = self._model(wanted)
        return _made(_work_of(sample, wanted, model, device), history, wanted, model, device)

    def _model(self, wanted: Wanted) -> Model:
        return asking.model_of(self._cache, wanted.base_model, wanted.revision)


def _history_in(database: Database, base_model: str) -> History:
    with database.glance() as session:
        return history_of(session, base_model)


def _work_in(
    database: Database,
    fact_set_id: str | None,
    wanted: Wanted,
    model: Model,
    device: str,
    *,
    project_id: ProjectId,
) -> Work:
    with database.glance() as session:
        found = fact_sets.get_fact_set(session, fact_set_id or "", project_id=project_id)
        return _work_of(sample_in(session, found, AT_CREATION), wanted, model, device)


def _made(work: Work, history: History, wanted: Wanted, model: Model, device: str) -> Made:
    forecast = rates.forecast(
        work,
        history.of(work.counted_by),
        device=device,
        parameters=model.shape.parameters,
        ends_early=wanted.settings["training"]["stop_when_learned"],
    )
    memory = work.memory
    peak = None if memory is None else rates.peak_of(peak_in(memory, device), history.peaks)
    return Made(work, forecast, device, model, peak)


_REMEMBERED: Final = Remembered[Any, Work](128)
"""Work of fact sets that was found before: sets never change, and jobs on one set are often alike."""


def _key(fact_set_id: str | None, limit: int, wanted: Wanted, model: Model, device: str) -> Any:
    parts = [wanted.settings[name] for name in ("method", "training", "evaluation")]
    return (fact_set_id, limit, model, device, json.dumps(parts, sort_keys=True), wanted.changes)


def _work_of(sample: Sample, wanted: Wanted, model: Model, device: str) -> Work:
    key = _key(sample.fact_set_id, sample.limit, wanted, model, device)
    found = _REMEMBERED.get(key) if sample.fact_set_id else None
    if found is None:
        found = _found_work(sample, wanted, model, device)
        if sample.fact_set_id:
            _REMEMBERED.put(key, found)
    return found


def _found_work(sample: Sample, wanted: Wanted, model: Model, device: str) -> Work:
    """Find out what a job has to do: of several variants what they do together, each text made once."""
    settings, found = wanted.settings, wanted.changes
    changed = Changed(found.added + found.changed, found.unchanged, found.removed) if found else None
    parts = {name: settings[name] for name in ("method", "training", "evaluation")}
    bodies, every = sample.bodies(), []
    for variant in variants_of(parts["method"]):
        try:
            plan = asking.plan_of({**parts, "method": variant.method})
        except ConfigError as error:
            raise NotEstimableError(str(error)) from None
        work = asking.work_for(bodies, sample.n_facts, plan, model, device=device, changed=changed)
        every.append((work, variant.supervised_by == variant.number))
    return together(every)
