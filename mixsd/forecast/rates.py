"""From work to seconds: by what earlier runs took for theirs, or by a prior where there are none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from mixsd.forecast.work import PhaseWork, Work

Basis = Literal["history", "prior"]

PRIOR_SPREAD: Final = 4.0
"""How many times the median a phase takes at the 90th percentile, where nothing was measured."""
PEAK_SPREAD: Final = 1.5
"""Likewise of the memory that a run takes at its peak."""
_OPERATIONS: Final[Mapping[str, float]] = MappingProxyType({"cpu": 1.5e11, "mps": 2e12, "cuda": 2e13})
"""Floating-point operations a second that a run comes to, roughly: two cores, a laptop's GPU, a server's."""
_PER_VALUE: Final[Mapping[str, float]] = MappingProxyType({"training": 4.0})
"""Operations for each token and parameter: forward, and backward through frozen weights. Else 2."""
_BYTES_PER_SECOND: Final = 4e8
_ALWAYS: Final = 1.0
"""Seconds that a phase takes with hardly any work."""
_EARLY: Final = 0.4
"""Share of the planned steps after which a run has learned everything, as a rule."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Median and 90th percentile, and on how many earlier runs they rest. Of memory it is bytes."""

    p50: float
    p90: float
    basis: Basis
    n: int


@dataclass(frozen=True, slots=True)
class PhaseForecast:
    work: PhaseWork
    seconds: Seconds | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long the phases of a run take. Seconds are None where the model's size is not known either.

    That of the whole is the sum: what slows one phase down, such as a machine with other work, slows
    the others down as well, so their 90th percentiles are added.
    """

    phases: tuple[PhaseForecast, ...]
    seconds: Seconds | None


def forecast(
    work: Work,
    history: Mapping[str, Sequence[float]],
    *,
    device: str,
    parameters: int | None,
    ends_early: bool,
) -> Forecast:
    """Say how long a run takes.

    Args:
        work: What it has to do.
        history: Seconds for each unit of forecast work, by phase, of earlier runs of the same model on
            the same kind of device.
        device: Kind of device.
        parameters: Of the model.
        ends_early: Whether training stops once everything is learned.
    """
    phases = tuple(
        PhaseForecast(
            each,
            by_history(each.work, history[each.phase])
            if history.get(each.phase)
            else _by_prior(each, device, parameters, ends_early=ends_early),
        )
        for each in work.phases
    )
    known = [each.seconds for each in phases if each.seconds is not None]
    if len(known) < len(phases):
        return Forecast(phases, None)
    basis: Basis = "history" if all(each.basis == "history" for each in known) else "prior"
    whole = Seconds(
        sum(each.p50 for each in known), sum(each.p90 for each in known), basis, min(each.n for each in known)
    )
    return Forecast(phases, whole)


def by_history(work: float, rates: Sequence[float]) -> Seconds:
    """Return what work takes by rates that were seen.

    Few of them say little about bad days: with n of them the 90th percentile is at least 1 + 1/n
    times the median.

    Example:
        >>> by_history(10, [2.0])
        Seconds(p50=20.0, p90=40.0, basis='history', n=1)
    """
    n = len(rates)
    median = quantile(rates, 0.5)
    return Seconds(work * median, work * max(quantile(rates, 0.9), median * (1 + 1 / n)), "history", n)


def peak_of(computed: int, ratios: Sequence[float]) -> Seconds:
    """Return the bytes at the peak of a run: what was computed, times what earlier runs took of that.

    Example:
        >>> peak_of(1000, []).p50, peak_of(1000, [0.5, 0.5, 0.5]).p50
        (1000, 500.0)
    """
    if not ratios:
        return Seconds(computed, computed * PEAK_SPREAD, "prior", 0)
    return by_history(computed, ratios)


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile, between two values in proportion.

    Example:
        >>> quantile([4.0, 1.0, 2.0], 0.5), quantile([1.0, 2.0], 0.9)
        (2.0, 1.9)
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _by_prior(phase: PhaseWork, device: str, parameters: int | None, *, ends_early: bool) -> Seconds | None:
    if phase.phase == "packaging":
        seconds = _ALWAYS
    elif phase.phase == "preparing":
        if phase.work <= 1:  # nothing is known of the model
            return None
        seconds = _ALWAYS + phase.work / _BYTES_PER_SECOND
    elif parameters is None:
        return None
    else:
        operations = _PER_VALUE.get(phase.phase, 2.0) * parameters * phase.work
        seconds = _ALWAYS + operations / _OPERATIONS.get(device, _OPERATIONS["cpu"])
        if ends_early and phase.phase == "training":
            seconds *= _EARLY
    return Seconds(seconds, seconds * PRIOR_SPREAD, "prior", 0)
