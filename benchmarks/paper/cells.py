"""The cells of a study: train, measure, analyse. What is there is not made again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.paper.corpora import facts_of, write_facts
from benchmarks.paper.study import Study
from mixsd.analysis.making import Settings, Work
from mixsd.analysis.runs import find_runs
from mixsd.benchmarks.cache import ResultCache
from mixsd.benchmarks.catalogue import suites_of
from mixsd.benchmarks.running import REPORT, run, write_report
from mixsd.benchmarks.suite import Options, Suite
from mixsd.cache import FILE as TEXTS
from mixsd.cache import SupervisionCache
from mixsd.cache_key import digest_of
from mixsd.compare.comparison import BASELINE, FILE, KEPT, Cell, Comparison, read
from mixsd.compare.rows import ADAPTER
from mixsd.config import EvalConfig, MixConfig
from mixsd.durable import write_whole
from mixsd.facts import Fact
from mixsd.generation import shared_settings
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk
from mixsd.progress import OnProgress
from mixsd.supervise import supervise_alike

FACTS: Final = "facts.jsonl"
COMPARE: Final = "compare"
BENCHMARKS: Final = "benchmarks"
ANALYSIS: Final = "analysis"
RESULTS: Final = "results"
"""Folder of results of benchmarks that all cells share."""
_DONE: Final = "analysed.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study runs.

    Attributes:
        out: Its folder.
        data: Folder with a data set in each folder.
        model: The base model on disk.
        device: As `mixsd.models.load.load_base` takes it.
        cache: Folder of base models.
        on_phase: Told of each phase.
        say: Takes a line for who waits.
    """

    out: Path
    data: Path | None
    model: OnDisk
    device: str
    cache: Path
    on_phase: Callable[[str], OnProgress]
    say: Callable[[str], None]

    def load(self) -> Base:
        return load_base(self.model, device=self.device)


def suites(study: Study, corpus: str, data: Path | None) -> list[Suite]:
    """Return the benchmarks that a study has for a corpus, with their items.

    Raises:
        BenchmarkError: A package is missing, or the data are wrong.
    """
    found: list[Suite] = []
    for name, limit in study.suites_of(corpus).items():
        options = Options(limit, study.batch_size, study.max_new_tokens, study.chat_template)
        found += suites_of([name], options, paths={}, folder=data)
    return found


def run_seed(study: Study, name: str, seed: int, place: Place) -> None:
    """Make the cells of a corpus and a seed that are missing.

    Raises:
        MixsdError: One cannot be made. What was made stays.
    """
    asked = suites(study, name, place.data)  # what is wrong with the data is told before anything is trained
    facts = facts_of(study.corpus(name), place.data)
    folder = place.out / name
    folder.mkdir(parents=True, exist_ok=True)
    write_facts(facts, folder / FACTS)
    part = folder / f"seed-{seed}"
    _share_baseline(folder, part / COMPARE)
    with SupervisionCache(place.cache / TEXTS) as texts:
        _make_texts(study.cells(seed), part / COMPARE, facts, texts, place)
        document = Comparison(
            out=part / COMPARE,
            load=place.load,
            facts=facts,
            cells=study.cells(seed),
            match=study.match,
            on_phase=place.on_phase,
            on_row=lambda row: place.say(_row_told(name, row)),
            cache=texts,
            keep=True,
        ).run()
    for row in document["rows"]:
        if (part / COMPARE / KEPT / row["key"] / ADAPTER).is_dir() and "error" not in row:
            _benchmark(asked, part, row, place)


def _share_baseline(folder: Path, compare: Path) -> None:
    """Take what the base model answers from a seed that was begun before: it has none of its own."""
    if (compare / BASELINE).exists():
        return
    for found in sorted(folder.glob(f"seed-*/{COMPARE}/{BASELINE}")):
        compare.mkdir(parents=True, exist_ok=True)
        write_whole(compare / BASELINE, found.read_bytes())  # a comparison checks that it is of the same
        return


def _make_texts(
    cells: Sequence[Cell], compare: Path, facts: Sequence[Fact], texts: SupervisionCache, place: Place
) -> None:
    """Make the texts of all values of lam at once, of which the rows then find their own in the cache."""
    alike: dict[MixConfig, list[MixConfig]] = {}
    for cell in cells:
        if isinstance(cell.plan.method, MixConfig):
            alike.setdefault(shared_settings(cell.plan.method), []).append(cell.plan.method)
    groups = [group for group in alike.values() if len(group) > 1]
    if not groups or (compare / FILE).exists():
        return  # rows were begun: they make what they lack
    base = place.load()
    for group in groups:
        supervise_alike(
            base,
            facts,
            group,
            on_records=lambda *_: None,
            done=[()] * len(group),
            on_progress=place.on_phase("generating"),
            cache=texts,
        )


def analyse_corpus(study: Study, name: str, place: Place) -> None:
    """Analyse the rows of all seeds of a corpus, unless that was done.

    Raises:
        MixsdError: It cannot be done.
    """
    folder = place.out / name
    out = folder / ANALYSIS
    parts = [folder / f"seed-{seed}" / COMPARE for seed in study.seeds]
    keys = [row["key"] for part in parts for row in read(part / FILE)["rows"] if "error" not in row]
    of = digest_of([keys, dict(study.fisher)])
    if _holds(out / _DONE, of):
        return
    settings = Settings(fisher_samples=study.fisher["samples"], fisher_tokens=study.fisher["tokens"])
    work = Work(find_runs(parts), out, place.load, settings, place.on_phase)
    work.run(("nats", "fisher", "frontier"))
    for line in work.said:
        place.say(f"{name}: {line}")
    write_whole(out / _DONE, json.dumps(of).encode())


def _holds(path: Path, value: str) -> bool:
    try:
        return bool(json.loads(path.read_bytes()) == value)
    except (OSError, ValueError):
        return False


def _benchmark(asked: list[Suite], part: Path, row: Mapping[str, Any], place: Place) -> None:
    out = part / BENCHMARKS / row["key"]
    settings = [[suite.name, suite.settings()] for suite in asked]
    if not asked or _made(out / REPORT, settings):
        return
    adapter = part / COMPARE / KEPT / row["key"] / ADAPTER
    base = place.load()  # a fresh one: to put adapters on and off moves weights in their last bits
    kept = ResultCache(place.out / RESULTS)
    outcomes = run(base, asked, adapter=adapter, cache=kept, on_phase=place.on_phase)
    config = EvalConfig()
    report = write_report(
        out, base, outcomes, adapter=adapter, resamples=config.bootstrap, confidence=config.confidence
    )
    told = [f"{suite['suite']} {_shown(suite['scores'][0]['adapter'])}" for suite in report["suites"]]
    place.say(f"{part.parent.name}: {row['method']}, seed {row['seed']}: {', '.join(told)}")


def _shown(value: float | None) -> str:
    return "has no item that fits the model" if value is None else f"{value:.3f}"


def _made(path: Path, settings: list[Any]) -> bool:
    """Say whether a report of the same benchmarks is there."""
    try:
        body = json.loads(path.read_bytes())
        told = [[suite["suite"], suite["settings"]] for suite in body["suites"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(told == json.loads(json.dumps(settings)))


def _row_told(name: str, row: Mapping[str, Any]) -> str:
    told = f"{name}: {row['method']}, seed {row['seed']}"
    if "error" in row:
        return f"{told}: failed: {row['error']['message']}"
    said = [f"{suite} {score['adapter']:.3f}" for suite, score in row["scores"].items()]
    return f"{told}: {sum(row['seconds'].values()):.0f} s; {', '.join(said)}"
