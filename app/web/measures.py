"""What the API measures of itself, for Prometheus.

Several processes of one API (`uvicorn --workers`) are measured together if they are started
with the variable `PROMETHEUS_MULTIPROC_DIR`, a folder of theirs that is empty at the start: that
of the library `prometheus-client`. Without it, one of several would answer for itself alone, and
counts would jump from scrape to scrape; so then they are left out.
"""

import multiprocessing
import os
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

UNMATCHED: Final = "unmatched"
"""The route of requests that have none, or were turned away before it was looked for."""


class HttpMeasures:
    """Counts and times requests. Labels have few values, whatever clients send."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "mixsd_http_request_duration_seconds",
            "Time until an answer began, by route, method and class of status.",
            ["method", "route", "status_class"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "mixsd_http_requests_in_flight",
            "Requests that are being answered.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.is_partial = multiprocessing.parent_process() is not None and FOLDER not in os.environ
        """This is one of several processes, which do not know of each other."""

    def begin(self) -> None:
        self._in_flight.inc()

    def end(self, method: str, route: str | None, status: int, seconds: float) -> None:
        self._in_flight.dec()
        shown = method if method in _METHODS else "other"
        self._seconds.labels(shown, route or UNMATCHED, f"{status // 100}xx").observe(seconds)

    def render(self, others: Iterable[Collector]) -> bytes:
        """Return the text of a scrape, with what other collectors have to say."""
        registry = CollectorRegistry()
        for collector in others:
            registry.register(collector)
        text: bytes = generate_latest(registry)
        return text if self.is_partial else generate_latest(self._of_all_processes()) + text

    def _of_all_processes(self) -> CollectorRegistry:
        if FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def close(self) -> None:
        """Count nothing as in flight any more that this process was at."""
        if FOLDER in os.environ:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
