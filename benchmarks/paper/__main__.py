"""Make the table of a study; see `benchmarks.paper`."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import benchmarks.paper
from benchmarks.paper.study import DEFAULT, Study, read_study
from mixsd.errors import MixsdError

_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Part:
    """What one process makes: cells of a corpus and a seed, or the analyses of a corpus."""

    corpus: str
    seed: int | None

    def arguments(self) -> list[str]:
        return ["--part", self.corpus, *([] if self.seed is None else [str(self.seed)])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all cells were made, 1 if some failed, 2 if nothing could be."""
    options = _parse(arguments)
    try:
        study = read_study(options.study)
        if options.part:
            corpus, *seed = options.part
            _make(study, Part(corpus, int(seed[0]) if seed else None), options)
            return 0
        return _all(study, options)
    except MixsdError as error:
        print(f"paper: {error} [{error.code}]", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # what was made stays, and the same command goes on


def _all(study: Study, options: argparse.Namespace) -> int:
    """Make all parts, several at a time, then write the table."""
    from benchmarks.paper.cells import suites
    from benchmarks.paper.corpora import facts_of
    from mixsd.durable import write_whole
    from mixsd.models.registry import default_cache
    from mixsd.models.store import pull

    for plan in study.corpora:  # what is wrong is told before anything is trained
        facts_of(plan, options.data_dir)
        suites(study, plan.name, options.data_dir)
    pull(study.model, cache=options.cache or default_cache())
    began = time.monotonic()
    cells = [Part(plan.name, seed) for seed in study.seeds for plan in study.corpora]
    for parts in (cells, [Part(plan.name, None) for plan in study.corpora]):
        if options.jobs == 1:
            for part in parts:
                _make(study, part, options)
        elif not _run(parts, options):
            return 2

    from benchmarks.paper.figures import table_of
    from benchmarks.paper.page import markdown
    from benchmarks.paper.signs import signs

    tables = [table_of(study, plan.name, options.out) for plan in study.corpora]
    body = {
        "model": study.model,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "tables": [table.to_json() | {"signs": [s.to_json() for s in signs(table)]} for table in tables],
    }
    write_whole(options.out / "paper.json", json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n")
    write_whole(options.out / "paper.md", markdown(study, tables).encode())
    print(json.dumps(body, indent=1, ensure_ascii=False) if options.json else options.out / "paper.md")
    return 1 if any(table.failed for table in tables) else 0


def _run(parts: Sequence[Part], options: argparse.Namespace) -> bool:
    """Make parts in processes of their own, so many at a time; False if one failed.

    They end with this process when it is stopped, and what they have made stays.
    """
    waiting, running = list(parts), list[subprocess.Popen[bytes]]()
    good = True
    try:
        while (waiting and good) or running:
            while waiting and good and len(running) < options.jobs:
                running.append(_started(waiting.pop(0), options))
            time.sleep(_POLL_SECONDS)
            ended = [process for process in running if process.poll() is not None]
            running = [process for process in running if process not in ended]
            good = good and all(process.returncode == 0 for process in ended)
    finally:
        for process in running:
            process.terminate()  # who runs in the background of a shell ignores SIGINT
        for process in running:
            process.wait()
    return good


def _started(part: Part, options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    words = [sys.executable, "-m", "benchmarks.paper", *part.arguments(), "--study", str(options.study)]
    words += ["--out", str(options.out), "--device", options.device, "--threads", str(threads)]
    for name, value in (("--data-dir", options.data_dir), ("--cache", options.cache)):
        words += [] if value is None else [name, str(value)]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def _make(study: Study, part: Part, options: argparse.Namespace) -> None:
    """Make a part in this process."""
    from benchmarks.paper.cells import Place, analyse_corpus, run_seed
    from mixsd.models.load import use_threads
    from mixsd.models.registry import default_cache
    from mixsd.models.store import pull
    from mixsd.progress import silent

    use_threads(options.threads)
    cache = options.cache or default_cache()
    place = Place(
        out=options.out,
        data=options.data_dir,
        model=pull(study.model, cache=cache),
        device=options.device,
        cache=cache,
        on_phase=lambda _: silent,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if part.seed is None:
        analyse_corpus(study, part.corpus, place)
    else:
        run_seed(study, part.corpus, part.seed, place)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description=benchmarks.paper.__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--study", type=Path, default=DEFAULT, help="file of the study")
    parser.add_argument("--out", type=Path, default=Path("out/paper"), help="folder; what is there is kept")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=os.environ.get("MIXSD_BENCHMARK_DATA") or None,
        help="folder of data sets, else MIXSD_BENCHMARK_DATA; what it lacks comes from the Hub",
    )
    parser.add_argument("--cache", type=Path, help="folder of base models")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=0, help="parts at a time; 0 takes two on a CPU, else one")
    parser.add_argument("--threads", type=int, default=0, help="of each; 0 takes its share of the cores")
    parser.add_argument("--json", action="store_true", help="print paper.json")
    parser.add_argument("--part", nargs="+", metavar="CORPUS [SEED]", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.jobs = options.jobs or _jobs(options.device)
    return options


def _jobs(device: str) -> int:
    """Two rows side by side, each on its share of the cores, are done sooner than one after the other."""
    if device == "auto":
        from mixsd.models.load import choose_device

        device = choose_device(device).type
    return min(2, os.cpu_count() or 1) if device == "cpu" else 1


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # so that no part outlives this process
    sys.exit(main())
