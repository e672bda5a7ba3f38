"""Forecasts of jobs: what they have to do, by their facts and settings, and how long that takes here."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from app.db.base import JsonObject
from app.db.engine import Database
from app.fact_sets import repository as fact_sets
from app.fact_sets.errors import FactSetNotFoundError
from app.fact_sets.models import FactSet
from app.fact_sets.reading import Upload
from app.ids import FactSetId, ProjectId
from app.jobs.errors import NotEstimableError
from app.jobs.history import history_of
from app.jobs.requests import JobCreate
from app.jobs.variants import variants_of
from mixsd.errors import ConfigError
from mixsd.forecast import asking, rates
from mixsd.forecast.asking import Model
from mixsd.forecast.rates import Forecast, Seconds
from mixsd.forecast.shape import disk_of, kind_of
from mixsd.forecast.work import Work, together
from mixsd.models.registry import default_cache

AT_CREATION: Final = 200
"""Facts that are looked at while a job is made, which must not take long."""
ASKED_FOR: Final = 1000
"""Facts that are looked at where a forecast is what was asked for."""


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


def _seconds(found: Seconds | None) -> JsonObject | None:
    if found is None:
        return None
    return {"p50": round(found.p50, 3), "p90": round(found.p90, 3), "basis": found.basis, "n": found.n}


class Forecaster:
    """Makes forecasts for one deployment. Asks no hub, and reads no more than it says."""

    def __init__(self, models: Path | None, device: str) -> None:
        """Prepare to forecast.

        Args:
            models: Where base models are kept; None for the usual place.
            device: That of the setting.
        """
        self._models = models or default_cache()
        self._device = device

    def model(self, base_model: str, revision: str | None) -> Model:
        return asking.model_of(self._models, base_model, revision)

    def at_creation(
        self,
        database: Database,
        request: JobCreate,
        upload: Upload | None,
        *,
        project_id: ProjectId,
        revision: str | None,
    ) -> JsonObject | None:
        """Return the forecast that a new job is stored with, None if there can be none.

        In a transaction of its own, so that none that writes waits for it.
        """
        with database.read() as session:
            if upload is not None:
                sample = sample_of(upload, AT_CREATION)
            else:
                try:
                    found = fact_sets.get_fact_set(session, request.fact_set_id or "", project_id=project_id)
                except FactSetNotFoundError:
                    return None
                sample = sample_in(session, found, AT_CREATION)
            try:
                return self.make(session, request, sample, revision=revision).to_json()
            except NotEstimableError:
                return None

    def make(self, session: Session, request: JobCreate, sample: Sample, *, revision: str | None) -> Made:
        """Forecast a job.

        Raises:
            NotEstimableError: The library would refuse its settings.
        """
        settings = request.settings()
        history = history_of(session, request.base_model)
        device = history.device or kind_of(self._device)
        model = self.model(request.base_model, revision)
        work = _work_of(sample, settings, model, device)
        forecast = rates.forecast(
            work,
            history.of(work.counted_by),
            device=device,
            parameters=model.shape.parameters,
            ends_early=settings["training"]["stop_when_learned"],
        )
        return Made(work, forecast, device, model)


class _Remembered:
    """Work of fact sets that was found before: sets never change, and jobs on one set are often alike."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: OrderedDict[Any, Work] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Work | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: Any, work: Work) -> None:
        with self._lock:
            self._found[key] = work
            if len(self._found) > self._limit:
                self._found.popitem(last=False)


_REMEMBERED: Final = _Remembered(128)


def _work_of(sample: Sample, settings: JsonObject, model: Model, device: str) -> Work:
    parts = {name: settings[name] for name in ("method", "training", "evaluation")}
    key = (sample.fact_set_id, sample.limit, model, device, json.dumps(parts, sort_keys=True))
    found = _REMEMBERED.get(key) if sample.fact_set_id else None
    if found is None:
        found = _found_work(sample, parts, model, device)
        if sample.fact_set_id:
            _REMEMBERED.put(key, found)
    return found


def _found_work(sample: Sample, parts: JsonObject, model: Model, device: str) -> Work:
    """Find out what a job has to do: of several variants what they do together, each text made once."""
    bodies, every = sample.bodies(), []
    for variant in variants_of(parts["method"]):
        try:
            plan = asking.plan_of({**parts, "method": variant.method})
        except ConfigError as error:
            raise NotEstimableError(str(error)) from None
        work = asking.work_for(bodies, sample.n_facts, plan, model, device=device)
        every.append((work, variant.supervised_by == variant.number))
    return together(every)
