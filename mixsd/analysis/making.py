"""Makes the analyses of runs that there can be, and writes them. Loads torch only when it must."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mixsd.analysis import figures, page
from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.results import Result, write
from mixsd.analysis.runs import Found
from mixsd.compare.plot import NoMatplotlibError
from mixsd.durable import write_whole
from mixsd.errors import OutOfMemoryError
from mixsd.progress import OnProgress

if TYPE_CHECKING:
    from mixsd.models.load import Base

ALL: Final = ("nats", "fisher", "frontier")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an analysis may be asked for, see the command."""

    tau: float = 5.0
    fisher_unit: Literal["sequence", "token"] = "sequence"
    fisher_samples: int = 2
    fisher_tokens: int = 64
    seed: int = 0


@contextmanager
def _room() -> Iterator[None]:
    """Say what to do when memory runs out.

    Raises:
        OutOfMemoryError: It did.
    """
    from mixsd.training.memory import ran_out  # noqa: PLC0415  loads torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemoryError("memory ran out: use --device cpu, or a larger device") from error


@dataclass
class Work:
    """Analyses of runs in a folder.

    Attributes:
        found: The runs.
        out: Folder of the analyses.
        load: Gives the base model as it is on disk; called once, and only if it is needed.
        settings: What is asked for.
        on_phase: Told of each analysis.
        said: What a user should know of what was left out.
    """

    found: Found
    out: Path
    load: Callable[[], "Base"]
    settings: Settings
    on_phase: Callable[[str], OnProgress]
    said: list[str] = field(default_factory=list)

    def run(self, names: Sequence[str], *, strict: bool = False) -> list[Path]:
        """Make analyses; return what was written, the page last.

        Args:
            names: Of `ALL`.
            strict: Each must be made. Else those that cannot be are told in `said`.

        Raises:
            NotAnalysableError: One cannot be made, or none can; those made before it stay.
            ModelError: The base model cannot be had.
            OutOfMemoryError: The device is too small.
            DiskFullError: There is no room.
        """
        makers = {"nats": self._nats, "fisher": self._fisher, "frontier": self._frontier}
        self._check()
        paths: list[Path] = []
        for name in dict.fromkeys(names):
            try:
                paths += self._written(makers[name]())
            except NotAnalysableError as error:
                if strict:
                    raise
                self.said.append(f"no {name}: {error}")
        if not paths:
            raise NotAnalysableError("nothing can be analysed: " + "; ".join(self.said))
        return [*paths, self._page()]

    def fact(self, key: str) -> list[Path]:
        """Make the report of a fact; return what was written, the page last.

        Raises:
            NotAnalysableError: There is no text of it.
            ModelError: The base model cannot be had.
            OutOfMemoryError: The device is too small.
            DiskFullError: There is no room.
        """
        from mixsd.analysis.provenance import analyse_fact  # noqa: PLC0415  loads torch

        self._check()
        with _room():
            result = analyse_fact(self._base, self.found.runs, key, tau=self.settings.tau)
        paths = self._written(result)
        return [*paths, self._page()]

    def _check(self) -> None:
        if not self.found.runs:
            raise NotAnalysableError("no row of the comparison was made: there is nothing to analyse")

    def _nats(self) -> Result:
        from mixsd.analysis.nats import analyse_nats  # noqa: PLC0415  loads torch

        self._need(any(run.records for run in self.found.runs), "supervision")
        with _room():
            return analyse_nats(
                self._base, self.found.runs, tau=self.settings.tau, on_progress=self.on_phase("nats")
            )

    def _fisher(self) -> Result:
        from mixsd.analysis.alignment import Config, analyse_fisher  # noqa: PLC0415  loads torch

        self._need(any(run.adapter for run in self.found.runs), "adapter")
        asked = self.settings
        config = Config(asked.fisher_unit, asked.fisher_samples, asked.seed, asked.fisher_tokens)
        with _room():
            return analyse_fisher(self._base, self.found.runs, config, on_progress=self.on_phase("fisher"))

    def _frontier(self) -> Result:
        from mixsd.analysis.frontier import analyse_frontier  # noqa: PLC0415  beside the others

        return analyse_frontier(self.found.runs)

    def _need(self, is_there: bool, what: str) -> None:  # noqa: FBT001  private
        """Refuse before the model is loaded.

        Raises:
            NotAnalysableError: No run has it.
        """
        if not is_there:
            hint = "; a comparison keeps it with mixsd compare --keep" if self.found.comparisons else ""
            raise NotAnalysableError(f"no {what} is stored{hint}")

    @cached_property
    def _base(self) -> "Base":
        from mixsd import run  # noqa: PLC0415  loads torch

        base = self.load()
        if run.base_digest(base) != self.found.base_model:
            raise NotAnalysableError(
                f"the runs are of {self.found.base_model['id']} with another chat template or revision than "
                "the model that is on disk under that name: get the one that they were made with"
            )
        return base

    @property
    def _runs(self) -> list[str]:
        return [run.name for run in self.found.runs]

    def _written(self, result: Result) -> Iterator[Path]:
        told = replace(result, body={**result.body, "runs_of": self._runs})
        pictures = {}
        try:
            pictures = figures.render(told.name, told.body)
        except NoMatplotlibError as error:
            if str(error) not in self.said:
                self.said.append(str(error))
        self.said += [f"{told.name}: {note}" for note in told.body["notes"]]
        return iter(write(told, self.out, pictures))

    def _page(self) -> Path:
        target = self.out / page.FILE
        title = f"Analysis of {', '.join(dict.fromkeys(run.folder for run in self.found.runs))}"
        write_whole(target, page.render(self.out, title, self._runs).encode())
        return target
