"""Run benchmarks on a base model and on an adapter of it, and compare the two item by item."""

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any, Final

import torch

import mixsd
from mixsd.benchmarks.cache import ResultCache
from mixsd.benchmarks.errors import BenchmarkError
from mixsd.benchmarks.means import means_of
from mixsd.benchmarks.suite import Marked, Metric, Subject, Suite
from mixsd.cache_key import described
from mixsd.durable import sha256_of_file, write_whole
from mixsd.errors import ModelError, OutOfMemoryError
from mixsd.evaluation.statistics import compare
from mixsd.models.load import Base
from mixsd.progress import OnProgress
from mixsd.training import lora

REPORT: Final = "benchmark.json"
ITEMS: Final = "items"

_LIBRARIES: Final = ("torch", "transformers", "peft")
_OF_TWO: Final = (
    "adapter",
    "adapter_low",
    "adapter_high",
    "difference",
    "low",
    "high",
    "gained",
    "lost",
    "p_value",
)
"""Parts of a score that there are of an adapter alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A benchmark of a base model, and of an adapter where one was given.

    Attributes:
        kept: Whether the base model's result was taken from the cache.
    """

    suite: Suite
    base: Marked
    adapter: Marked | None
    kept: bool


def run(
    base: Base,
    suites: Sequence[Suite],
    *,
    adapter: Path | None = None,
    cache: ResultCache | None = None,
    on_phase: Callable[[str], OnProgress],
) -> list[Outcome]:
    """Run benchmarks on the base model, then on the adapter.

    Args:
        base: The base model, without an adapter on it.
        suites: What is run, in this order.
        adapter: Folder of an adapter as peft writes it.
        cache: Results of earlier runs. What is not in it is run and kept.
        on_phase: Takes what begins, such as `arc_easy of base`; gives what to tell its progress to.

    Raises:
        BenchmarkError: The folder holds no adapter of this model, or a benchmark does not fit it.
        OutOfMemoryError: The device is too small for so many items side by side.
    """
    digest = None if adapter is None else _digest_of(adapter)
    before = [_run(base, base.model, suite, None, None, cache, on_phase) for suite in suites]
    if adapter is None:
        pairs = zip(suites, before, strict=True)
        return [Outcome(suite, found, None, kept) for suite, (found, kept) in pairs]
    with _adapter_on(base, adapter) as model:
        after = [
            _run(base, model, suite, digest, found, cache, on_phase)[0]
            for suite, (found, _) in zip(suites, before, strict=True)
        ]
    return [
        Outcome(suite, found, then, kept)
        for suite, (found, kept), then in zip(suites, before, after, strict=True)
    ]


def _run(
    base: Base,
    model: Any,
    suite: Suite,
    adapter: str | None,
    baseline: Marked | None,
    cache: ResultCache | None,
    on_phase: Callable[[str], OnProgress],
) -> tuple[Marked, bool]:
    def ask() -> Marked:
        report = on_phase(f"{suite.name} of {'base' if adapter is None else 'adapter'}")
        try:
            return suite.run(Subject(base, model), baseline=baseline, on_progress=report)
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{suite.name} does not fit into the memory of {base.model.device}: "
                "ask fewer items side by side"
            ) from error

    if cache is None:
        return ask(), False
    what = {
        "model": described(base),
        "adapter": adapter,
        "suite": suite.name,
        "settings": suite.settings(),
        "versions": versions(),
    }
    return cache.get_or_run(what, ask)


@contextmanager
def _adapter_on(base: Base, folder: Path) -> Iterator[Any]:
    """Put an adapter on the base model and merge it while the body runs, as a job's evaluation does."""
    try:
        model = lora.load_adapter(base, folder)
    except (OSError, ModelError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BenchmarkError(f"{folder} holds no adapter of {base.id}: {reason}") from error
    try:
        model.eval()
        with lora.merged(model):
            yield model
    finally:
        lora.detach(model)


def _digest_of(adapter: Path) -> str:
    """Return the digest of an adapter's weights and shape."""
    parts = []
    for name in (lora.WEIGHTS, lora.CONFIG):
        try:
            parts.append(sha256_of_file(adapter / name))
        except OSError:
            raise BenchmarkError(f"{adapter} holds no adapter: there is no {name}") from None
    return ":".join(parts)


def versions() -> dict[str, str]:
    """Return the versions of what every result depends on."""
    found = {"mixsd": mixsd.__version__, "law": str(mixsd.LAW_VERSION)}
    return found | {library: importlib.metadata.version(library) for library in _LIBRARIES}


def scores_of(outcome: Outcome, *, resamples: int, confidence: float) -> list[dict[str, Any]]:
    """Return each metric of a benchmark: both means, their intervals, and the paired difference.

    Without an adapter there is the base model's mean with its interval alone.
    """
    return [
        _score(metric, outcome, outcome.base.ids, resamples=resamples, confidence=confidence)
        for metric in outcome.suite.metrics
    ]


def _score(
    metric: Metric, outcome: Outcome, ids: Sequence[str], *, resamples: int, confidence: float
) -> dict[str, Any]:
    before = _marks(outcome.base, metric, ids)
    after = before if outcome.adapter is None else _marks(outcome.adapter, metric, ids)
    score = compare(
        outcome.suite.name,
        metric.name,
        before,
        after,
        resamples=resamples,
        confidence=confidence,
        lower_is_better=metric.lower_is_better,
    ).to_json()
    if outcome.adapter is None:
        score |= dict.fromkeys(_OF_TWO)
    if metric.also and ids:
        means = {side: None if score[side] is None else exp(score[side]) for side in ("base", "adapter")}
        score["also"] = {"metric": metric.also, **means}
    return score


def _marks(marked: Marked, metric: Metric, ids: Sequence[str]) -> list[float]:
    by_id = dict(zip(marked.ids, marked.marks[metric.name], strict=True))
    return [by_id[name] for name in ids]


def by_group(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return n and both means of the first metric for each group of items, such as a subject of MMLU."""
    groups: dict[str, list[str]] = {}
    for name in outcome.base.ids:
        if group := outcome.suite.groups.get(name):
            groups.setdefault(group, []).append(name)
    metric = outcome.suite.metrics[0]
    found = {}
    for group, ids in groups.items():
        row: dict[str, Any] = {"n": len(ids)}
        for side, marked in (("base", outcome.base), ("adapter", outcome.adapter)):
            row[side] = None if marked is None else sum(_marks(marked, metric, ids)) / len(ids)
        found[group] = row
    return found


def write_report(
    out: Path,
    base: Base,
    outcomes: Sequence[Outcome],
    *,
    adapter: Path | None,
    resamples: int,
    confidence: float,
) -> dict[str, Any]:
    """Write `benchmark.json`, and for each benchmark `items/NAME.jsonl` with every mark and answer.

    Raises:
        DiskFullError: There was no room.
    """
    report = {
        "model": described(base),
        "adapter": None if adapter is None else {"sha256": _digest_of(adapter)},
        "versions": versions(),
        "confidence": confidence,
        "suites": [_told(outcome, resamples, confidence) for outcome in outcomes],
        "means": means_of(outcomes, confidence=confidence),
    }
    for outcome in outcomes:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _item_rows(outcome)]
        write_whole(out / ITEMS / f"{outcome.suite.name}.jsonl", "".join(lines).encode())
    write_whole(out / REPORT, json.dumps(report, indent=2, ensure_ascii=False).encode() + b"\n")
    return report


def _told(outcome: Outcome, resamples: int, confidence: float) -> dict[str, Any]:
    notes = [*outcome.base.notes, *(outcome.adapter.notes if outcome.adapter else ())]
    return {
        "suite": outcome.suite.name,
        "settings": outcome.suite.settings(),
        "n": len(outcome.base.ids),
        "left_out": list(outcome.base.left_out),
        "notes": list(dict.fromkeys(notes)),
        "scores": scores_of(outcome, resamples=resamples, confidence=confidence),
        "groups": by_group(outcome),
    }


def _item_rows(outcome: Outcome) -> Iterator[Mapping[str, Any]]:
    for place, name in enumerate(outcome.base.ids):
        row: dict[str, Any] = {"id": name}
        for side, marked in (("base", outcome.base), ("adapter", outcome.adapter)):
            if marked is not None:
                given = {metric: values[place] for metric, values in marked.marks.items()}
                row[side] = {"marks": given, "said": marked.said[place]}
        yield row
