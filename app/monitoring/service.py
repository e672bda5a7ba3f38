"""What Prometheus is told of jobs, queues and workers, from the database at the time of a scrape."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from app.db.engine import Database, DatabaseFailure
from app.jobs.workers import WorkerStatus, status_of
from app.monitoring import repository

log = structlog.get_logger(__name__)

KEPT: Final = 5.0
"""Seconds for which what was read is told again: so several scrapers cost no more than one."""

QUANTILES: Final = (0.5, 0.9, 0.99)


class ServiceMeasures(Collector):
    """Reads the database at most every few seconds. Names no project and no job.

    A database that is away leaves `mixsd_database_up` 0, and nothing else.
    """

    def __init__(
        self, database: Database, *, lease: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._lease = lease
        self._clock = clock
        self._turn = threading.Lock()
        self._read_at = -KEPT
        self._last: Sequence[Metric] = ()

    def collect(self) -> Iterable[Metric]:
        """Return every measure."""
        with self._turn:
            if self._clock() - self._read_at >= KEPT:
                self._last = self._read()
                self._read_at = self._clock()
            return self._last

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: a registry would else read the database to learn the names."""
        return ()

    def _read(self) -> Sequence[Metric]:
        up = GaugeMetricFamily("mixsd_database_up", "Whether the database answers.")
        try:
            with self._database.read() as session:
                found = [
                    *_of_jobs(session, self._database),
                    *_of_workers(session, self._database, self._lease),
                ]
        except DatabaseFailure as error:
            log.warning("metrics.database_unavailable", error=type(error).__name__)
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *found]


def _of_jobs(session: Session, database: Database) -> Iterable[Metric]:
    jobs = GaugeMetricFamily("mixsd_jobs", "Jobs that there are, by status.", labels=["status"])
    for status, count in repository.jobs_by_status(session).items():
        jobs.add_metric([status], count)
    yield jobs
    yield from _of_queues(session, database)
    yield from _of_work(session)
    yield from _of_phases(session)


def _of_queues(session: Session, database: Database) -> Iterable[Metric]:
    depth = GaugeMetricFamily("mixsd_queue_jobs", "Jobs that wait for a worker.", labels=["queue"])
    age = GaugeMetricFamily(
        "mixsd_queue_oldest_seconds", "How long the oldest job that is due has waited.", labels=["queue"]
    )
    now = database.now(session)
    found = {"gpu": repository.QueueState(0, None), **repository.queues(session, now=now)}
    for queue, state in found.items():
        depth.add_metric([queue], state.waiting)
        waited = (now - state.due_since).total_seconds() if state.due_since else 0.0
        age.add_metric([queue], max(0.0, waited))
    return [depth, age]


def _of_work(session: Session) -> Iterable[Metric]:
    ended = CounterMetricFamily(
        "mixsd_job_work_ended",
        "How often a worker ended its work on a job, by the status that the job then had.",
        labels=["outcome"],
    )
    lost = CounterMetricFamily(
        "mixsd_job_attempts_lost",
        "Attempts whose worker went silent or died, which take the lease with them.",
    )
    by_outcome = dict.fromkeys(("succeeded", "failed", "cancelled", "paused", "queued"), 0)
    lost_in_all = 0
    for outcome, was_lost, count in repository.work_ended(session):
        by_outcome[outcome] = by_outcome.get(outcome, 0) + count
        lost_in_all += count if was_lost else 0
    for outcome, count in by_outcome.items():
        ended.add_metric([outcome], count)
    lost.add_metric([], lost_in_all)
    return [ended, lost]


def _of_phases(session: Session) -> Iterable[Metric]:
    seconds = GaugeMetricFamily(
        "mixsd_job_phase_seconds",
        f"Duration of phases: quantiles of the last {repository.RECENT_PHASES} that were finished.",
        labels=["phase", "quantile"],
    )
    for phase, durations in repository.phase_seconds(session).items():
        for quantile in QUANTILES:
            seconds.add_metric([phase, str(quantile)], _quantile(durations, quantile))
    rate = GaugeMetricFamily(
        "mixsd_job_phase_rate", "What all running jobs do in a second.", labels=["phase", "unit"]
    )
    for (phase, unit), amount in repository.rates(session).items():
        rate.add_metric([phase, unit], amount)
    return [seconds, rate]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of them do not exceed.

    Example:
        >>> _quantile([1.0, 2.0, 3.0, 4.0], 0.5), _quantile([1.0, 2.0, 3.0, 4.0], 0.9)
        (2.0, 4.0)
    """
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def _of_workers(session: Session, database: Database, lease: timedelta) -> Iterable[Metric]:
    count = GaugeMetricFamily("mixsd_workers", "Workers that report, by status.", labels=["status"])
    used = GaugeMetricFamily("mixsd_gpu_memory_used_bytes", "Memory in use.", labels=["host", "gpu"])
    total = GaugeMetricFamily("mixsd_gpu_memory_bytes", "Memory that there is.", labels=["host", "gpu"])
    now = database.now(session)
    by_status = dict.fromkeys(WorkerStatus, 0)
    gpus: dict[tuple[str, str], tuple[float, float]] = {}
    for worker in repository.workers(session):
        status = status_of(worker, now=now, lease=lease)
        by_status[status] += 1
        if status is WorkerStatus.LOST:
            continue
        for gpu in worker.gpus:  # workers of a host see the same ones
            if gpu.get("memory_bytes"):
                gpus[worker.host, str(gpu["index"])] = gpu["memory_used_bytes"], gpu["memory_bytes"]
    for status, number in by_status.items():
        count.add_metric([status], number)
    for labels, (in_use, there_is) in gpus.items():
        used.add_metric(labels, in_use)
        total.add_metric(labels, there_is)
    return [count, used, total]
