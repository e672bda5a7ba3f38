"""A comparison in a folder: every row is written as it is made, and is not made again.

OUT/compare.json    what is compared, and the rows
OUT/baseline.json   what the base model answers
OUT/work/           checkpoints of the row under way
OUT/rows/           for each row its supervision and its adapter, if they are to be kept
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from mixsd import run
from mixsd.cache import SupervisionCache
from mixsd.compare.methods import Common, Match, Method
from mixsd.compare.rows import ADAPTER, SUPERVISION, Bench, Row, row_of
from mixsd.config import Plan
from mixsd.durable import whole_folder, write_whole
from mixsd.errors import ConfigError, DiskFullError, MixsdError
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.facts import sha256_of as sha256_of_facts
from mixsd.inject import OnPhase
from mixsd.models.load import Base

FILE: Final = "compare.json"
BASELINE: Final = "baseline.json"
KEPT: Final = "rows"
_WORK: Final = "work"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """A row that is wanted. What makes no adapter has no seed."""

    method: Method
    seed: int | None
    plan: Plan

    def settings(self) -> dict[str, Any]:
        """Return what the row is of, as plain data."""
        if not self.method.makes_adapter:
            return {"method": dict(self.method.method)}
        return {part: body for part, body in self.plan.to_json().items() if part != "evaluation"}


def cells_of(methods: Sequence[Method], seeds: Sequence[int], match: Match, common: Common) -> list[Cell]:
    """Return the rows that are wanted: all methods with the first seed, then with the next.

    Raises:
        ConfigError: A seed is given twice, two methods are the same, or a plan is none.
    """
    if not methods or not seeds:
        raise ConfigError("a comparison needs at least one method and one seed")
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise ConfigError(f"the seed {seed} is given twice: a row would count for two")
    names: dict[str, str] = {}
    for method in methods:
        settings = json.dumps(Cell(method, 0, method.plan(0, match, common)).settings(), sort_keys=True)
        if settings in names:
            raise ConfigError(f"{names[settings]} and {method.name} are one method: leave one out")
        names[settings] = method.name
    return [
        Cell(method, seed if method.makes_adapter else None, method.plan(seed, match, common))
        for place, seed in enumerate(seeds)
        for method in methods
        if method.makes_adapter or place == 0
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows of methods on the same facts.

    Attributes:
        out: Its folder.
        load: Gives the base model as it is on disk. Each row has one of its own, so that it does
            not depend on those before it.
        cells: The rows that are wanted.
        on_row: Told of each row as it is made.
        cache: Supervision of other runs.
        keep: Keep what each row was trained on, and its adapter.
    """

    out: Path
    load: Callable[[], Base]
    facts: Sequence[Fact]
    cells: Sequence[Cell]
    match: Match
    on_phase: OnPhase
    on_row: Callable[[Row], None] = lambda _: None
    cache: SupervisionCache | None = None
    keep: bool = False

    def run(self) -> dict[str, Any]:
        """Make the rows that are missing, those that failed before included; return the whole file.

        If rows are to be kept, one that was made and not kept is missing too.

        A method that fails has a row that says why, and the others go on.

        Raises:
            ConfigError: The folder holds another comparison, or is in use.
            DiskFullError: There is no room.
        """
        base = self.load()
        with self._alone():
            document = self._open(base)
            missing = self._missing(base, document["rows"])
            self._write(document)
            if not missing:
                return document
            baseline = self._baseline(base)
            for place, (key, cell) in enumerate(missing):
                if place:
                    del base  # before there is another
                    base = self.load()
                row = self._row(base, key, cell, self._bench(key, baseline))
                if self.keep and "error" not in row:
                    self._keep(key)
                _put(document["rows"], row)
                self._write(document)
                shutil.rmtree(self.out / _WORK / key, ignore_errors=True)
                self.on_row(row)
        return document

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.out / ".lock", timeout=0):
                yield
        except Timeout:
            raise ConfigError(
                f"{self.out} is in use by another comparison: wait, or choose another --out"
            ) from None

    def _open(self, base: Base) -> dict[str, Any]:
        """Read the folder's file, or begin one.

        Raises:
            ConfigError: It is of another comparison, or no such file.
        """
        evaluation = self.cells[0].plan.to_json()["evaluation"]
        wanted = {
            "base_model": run.base_digest(base),
            "facts": {"n": len(self.facts), "sha256": sha256_of_facts(self.facts)},
            "evaluation": {name: value for name, value in evaluation.items() if name != "batch_size"},
            "match": self.match.to_json(),
        }
        path = self.out / FILE
        if not path.exists():
            return {"version": _VERSION, "comparison": wanted, "rows": []}
        document = read(path)
        other = [part for part, value in wanted.items() if document["comparison"].get(part) != value]
        if other:
            raise ConfigError(
                f"{self.out} holds a comparison with another {' and '.join(other)}: choose another --out"
            )
        return document

    def _missing(self, base: Base, rows: list[Row]) -> list[tuple[str, Cell]]:
        """Return what is to be made. A row that is there takes the name that is asked for now."""
        made = {row["key"]: row for row in rows if "error" not in row}
        missing = []
        for cell in self.cells:
            key = self._key(base, cell)
            if key in made and self._is_kept(key, cell):
                made[key]["method"] = cell.method.name
            else:
                missing.append((key, cell))
        return missing

    def _is_kept(self, key: str, cell: Cell) -> bool:
        return not self.keep or not cell.method.makes_adapter or (self.out / KEPT / key).is_dir()

    def _keep(self, key: str) -> None:
        """Keep what a row leaves, all of it or nothing."""
        work = self.out / _WORK / key
        if not (work / ADAPTER).is_dir():
            return
        with whole_folder(self.out / KEPT / key, self.out / KEPT / f".{key}.partial") as draft:
            shutil.copytree(work / ADAPTER, draft / ADAPTER)
            shutil.copyfile(work / SUPERVISION, draft / SUPERVISION)

    def _key(self, base: Base, cell: Cell) -> str:
        parts = [run.base_digest(base), sha256_of_facts(self.facts), cell.settings(), self.match.to_json()]
        return run.digest_of(parts)[:32]

    def _bench(self, key: str, baseline: Measured) -> Bench:
        work = self.out / _WORK / key
        work.mkdir(parents=True, exist_ok=True)
        return Bench(self.facts, baseline, self.match, work, self.on_phase, self.cache)

    def _baseline(self, base: Base) -> Measured:
        """Return what the base model answers, asked once for a folder."""
        plan = self.cells[0].plan
        path, digest = self.out / BASELINE, run.baseline_input(base, self.facts, plan)
        try:
            body = json.loads(path.read_text())
            if body["input_sha256"] == digest:
                return Measured.from_json(body["said"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        said = measure(base, self.facts, plan.evaluation, on_progress=self.on_phase("baseline"))
        write_whole(path, json.dumps({"input_sha256": digest, "said": said.to_json()}).encode())
        return said

    def _row(self, base: Base, key: str, cell: Cell, bench: Bench) -> Row:
        told: Row = {"key": key, "method": cell.method.name, "seed": cell.seed, "plan": cell.settings()}
        try:
            return told | row_of(base, cell.method, cell.plan, bench)
        except DiskFullError:
            raise
        except MixsdError as error:
            return told | {"error": {"code": error.code, "message": str(error)}}

    def _write(self, document: Mapping[str, Any]) -> None:
        write_whole(self.out / FILE, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


def read(path: Path) -> dict[str, Any]:
    """Read the file of a comparison.

    Raises:
        ConfigError: It is no such file.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = document["version"] == _VERSION and isinstance(document["comparison"], dict)
        known = known and all(isinstance(row["key"], str) for row in document["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no comparison: move it away, or choose another --out") from error
    if not known:
        raise ConfigError(f"{path} is of another version: choose another --out")
    return document


def _put(rows: list[Row], row: Row) -> None:
    """Add a row, in place of one that failed."""
    for place, other in enumerate(rows):
        if other["key"] == row["key"]:
            rows[place] = row
            return
    rows.append(row)
