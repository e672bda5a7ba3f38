"""Benchmarks of lm-evaluation-harness. Its own package is loaded only when one of them is run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Final

from mixsd.benchmarks.data import INSTALL, Items, check_shots
from mixsd.benchmarks.errors import NoBenchmarkExtraError
from mixsd.benchmarks.suite import Marked, Metric, Options, Subject
from mixsd.progress import OnProgress

PACKAGE: Final = "lm_eval"


def marks(values: Sequence[Any]) -> list[float]:
    """Return what the harness gives an item for a right or a wrong answer."""
    return [float(value) for value in values]


def losses(values: Sequence[Any]) -> list[float]:
    """Return the loss of each item, of which the harness gives the log-likelihood."""
    return [-float(value) for value in values]


def rates(values: Sequence[Any]) -> list[float]:
    """Return losses whose plain mean is the loss per unit of the whole text.

    Args:
        values: For each page its log-likelihood in nats, and how many units it has.
    """
    units = sum(count for _, count in values)
    return [-float(likelihood) * len(values) / units for likelihood, _ in values]


def bit_rates(values: Sequence[Any]) -> list[float]:
    """Return the same in bits."""
    return [rate / math.log(2) for rate in rates(values)]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a metric is read from what a task gives for an item: under `key`, with the filter `behind`."""

    metric: Metric
    key: str
    read: Callable[[Sequence[Any]], list[float]] = marks
    behind: str = "none"


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the harness.

    Attributes:
        name: In the harness; ours too.
        folder: Of its task file, below the harness's own.
        data: Name of the data set.
        shots: Worked examples from the data set before each item. The task may bring its own.
        by_subject: Whether the task has a part for each subject, called `NAME_SUBJECT`.
    """

    name: str
    folder: str
    data: str
    readings: tuple[Reading, ...]
    shots: int = 0
    by_subject: bool = False


_ACCURACY: Final = Reading(Metric("accuracy"), "acc")
_BY_LENGTH: Final = Reading(Metric("accuracy_by_length"), "acc_norm")
_NUMBER: Final = (
    Reading(Metric("exact_match"), "exact_match", behind="strict-match"),
    Reading(Metric("last_number"), "exact_match", behind="flexible-extract"),
)

TASKS: Final[Mapping[str, Task]] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("arc_easy", "arc", "arc_easy", (_ACCURACY, _BY_LENGTH)),
            Task("piqa", "piqa", "piqa", (_ACCURACY, _BY_LENGTH)),
            Task("hellaswag", "hellaswag", "hellaswag", (_BY_LENGTH, _ACCURACY)),
            Task(
                "lambada_openai",
                "lambada",
                "lambada_openai",
                (
                    _ACCURACY,
                    Reading(
                        Metric("nats_per_word", lower_is_better=True, also="perplexity"), "perplexity", losses
                    ),
                ),
            ),
            Task(
                "wikitext",
                "wikitext",
                "wikitext",
                (
                    Reading(
                        Metric("nats_per_word", lower_is_better=True, also="word_perplexity"),
                        "word_perplexity",
                        rates,
                    ),
                    Reading(Metric("bits_per_byte", lower_is_better=True), "bits_per_byte", bit_rates),
                ),
            ),
            Task("mmlu", "mmlu/default", "mmlu", (_ACCURACY,), shots=5, by_subject=True),
            Task("gsm8k", "gsm8k", "gsm8k", _NUMBER, shots=5),
            Task("gsm8k_cot", "gsm8k", "gsm8k", _NUMBER),
        )
    }
)


@dataclass(frozen=True, slots=True)
class HarnessSuite:
    """A task of the harness with its items."""

    task: Task
    items: Items
    options: Options

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(reading.metric for reading in self.task.readings)

    @property
    def groups(self) -> dict[str, str]:
        return {row["id"]: row["subject"] for row in self.items.rows} if self.task.by_subject else {}

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "shots": self.task.shots,
            "chat_template": self.options.chat_template,
            "batch_size": self.options.batch_size,
            "data": {"from": self.items.origin, "sha256": self.items.sha256, "n": len(self.items.rows)},
            "versions": {PACKAGE: version(PACKAGE)},
        }

    def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
        found: Marked = import_module("mixsd.benchmarks.harness_run").run(
            self.task, self.items, self.options, subject, on_progress
        )
        return found


def harness_suite(task: Task, items: Items, options: Options) -> HarnessSuite:
    """Return a task with its items.

    Raises:
        NoBenchmarkExtraError: The harness is not installed.
        BenchmarkDataError: There are too few worked examples.
    """
    check_installed(task.name)
    check_shots(task.name, items, task.shots, by_subject=task.by_subject)
    return HarnessSuite(task, items, options)


def check_installed(name: str) -> None:
    """Refuse a benchmark whose package is missing.

    Raises:
        NoBenchmarkExtraError: Says how to get it.
    """
    try:
        version(PACKAGE)
    except PackageNotFoundError:
        raise NoBenchmarkExtraError(
            f"{name} runs on lm-evaluation-harness, which is not installed: {INSTALL}"
        ) from None
