"""The benchmarks that there are, by name, and the data that each of them reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mixsd.benchmarks.data import DATA_SETS, Items, items_of, place_of
from mixsd.benchmarks.errors import BenchmarkError
from mixsd.benchmarks.harness import TASKS, check_installed, harness_suite
from mixsd.benchmarks.own import OWN
from mixsd.benchmarks.paper import BENCHMARKS, GREEDY, paper_suite
from mixsd.benchmarks.paper import NAMES as PAPER
from mixsd.benchmarks.suite import Options, Suite

NAMES: Final = (*OWN, *TASKS, *PAPER)
"""What may be asked for."""

DATA_OF: Final[Mapping[str, str]] = MappingProxyType(
    {name: name for name in DATA_SETS}
    | {task.name: task.data for task in TASKS.values()}
    | {name: BENCHMARKS[name.removesuffix(GREEDY)].data for name in PAPER}
)
"""The data set of each benchmark that reads one, and of data sets by their own name."""


def suites_of(
    names: Sequence[str], options: Options, *, paths: Mapping[str, Path], folder: Path | None
) -> list[Suite]:
    """Return benchmarks with their items; all that may be wrong with the data is found here.

    Args:
        names: Of `NAMES`, in the order in which they are to run. One that is there twice runs once.
        options: What the user has set.
        paths: Where data sets lie, by their name. What is missing is sought in the folder.
        folder: Of data sets, see `mixsd.benchmarks.data.place_of`. What it lacks comes from the Hub.

    Raises:
        BenchmarkError: There is no such benchmark, a package is missing, or the data are wrong.
    """
    for name in names:
        if name not in NAMES:
            raise BenchmarkError(f"there is no benchmark {name}: {', '.join(NAMES)}")
        if name in TASKS:
            check_installed(name)
    return [_suite(name, options, paths, folder) for name in dict.fromkeys(names)]


def _suite(name: str, options: Options, paths: Mapping[str, Path], folder: Path | None) -> Suite:
    if name in OWN:
        return OWN[name](options)
    if name in PAPER:
        benchmark = BENCHMARKS[name.removesuffix(GREEDY)]
        shots = bool(benchmark.shots)
        return paper_suite(name, _items(benchmark.data, options, paths, folder, shots=shots), options)
    task = TASKS[name]
    return harness_suite(task, _items(task.data, options, paths, folder, shots=bool(task.shots)), options)


def _items(
    data: str, options: Options, paths: Mapping[str, Path], folder: Path | None, *, shots: bool
) -> Items:
    return items_of(data, place_of(data, paths, folder), shots=shots).first(options.limit)
