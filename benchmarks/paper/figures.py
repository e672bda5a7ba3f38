"""What the cells of a study come to: a figure for each column of the table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.paper.cells import ANALYSIS, BENCHMARKS, COMPARE
from benchmarks.paper.study import Study
from mixsd.benchmarks.running import REPORT
from mixsd.compare.comparison import FILE, read

BASE: Final = "base model"
SCORES: Final = ("recall", "paraphrase", "probe_reversed", "general")
"""Columns that the evaluation of a run gives, before those of the benchmarks; after these comes `drift`."""
KINDS: Final = ("genuine", "leakage", "collapse", "format")
"""Of wrong answers to the general set."""


@dataclass(slots=True)
class Line:
    """A method on a corpus.

    Attributes:
        values: By column, one for each seed.
        mistakes: Of all seeds together: wrong answers to the general set, by kind.
    """

    method: str
    values: dict[str, list[float]] = field(default_factory=dict)
    mistakes: dict[str, int] = field(default_factory=dict)

    def add(self, column: str, value: float | None) -> None:
        if value is not None:
            self.values.setdefault(column, []).append(float(value))

    def count(self, kinds: Mapping[str, int]) -> None:
        for kind, number in kinds.items():
            self.mistakes[kind] = self.mistakes.get(kind, 0) + number

    def mean(self, column: str) -> float | None:
        found = self.values.get(column)
        return sum(found) / len(found) if found else None

    def share(self, kind: str) -> float | None:
        """Return the share of a kind among the wrong answers."""
        every = sum(self.mistakes.values())
        return self.mistakes.get(kind, 0) / every if every else None

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "values": self.values, "mistakes": self.mistakes}


@dataclass(frozen=True, slots=True)
class Table:
    """A corpus: the base model first, then the methods in the order of the study.

    Attributes:
        columns: Those that there are figures of.
        facts: Taught.
        failed: What could not be made, and why.
        correlations: Of R and of the squared norm with what was lost, as the analysis has them.
        seconds: That went into the rows.
    """

    corpus: str
    facts: int
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    failed: tuple[str, ...]
    correlations: tuple[Mapping[str, Any], ...]
    seconds: float

    def line(self, method: str) -> Line | None:
        return next((line for line in self.lines if line.method == method), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "corpus": self.corpus,
            "facts": self.facts,
            "columns": list(self.columns),
            "lines": [line.to_json() for line in self.lines],
            "failed": list(self.failed),
            "correlations": [dict(each) for each in self.correlations],
            "seconds": self.seconds,
        }


def table_of(study: Study, corpus: str, out: Path) -> Table:
    """Read the cells of a corpus.

    Raises:
        ConfigError: They are not all there.
    """
    folder = out / corpus
    documents = {seed: read(folder / f"seed-{seed}" / COMPARE / FILE) for seed in study.seeds}
    rows = [(seed, row) for seed, document in documents.items() for row in document["rows"]]
    lines = {name: Line(name) for name in (BASE, *(method.name for method in study.methods))}
    for seed, row in rows:
        if "error" not in row:
            _add_row(lines, row)
            _add_benchmarks(lines, row["method"], folder / f"seed-{seed}" / BENCHMARKS / row["key"] / REPORT)
    _add_nats(lines, _read(folder / ANALYSIS / "nats" / "nats.json"))
    fisher = _read(folder / ANALYSIS / "fisher" / "fisher.json")
    _add_fisher(lines, fisher)
    for column, found in lines[BASE].values.items():
        lines[BASE].values[column] = found[:1]  # it is the same for every row
    columns = (*SCORES, *study.suites_of(corpus), "drift", "target_nats", "above_5_nats", "norm", "ratio")
    return Table(
        corpus=corpus,
        facts=documents[study.seeds[0]]["comparison"]["facts"]["n"],
        columns=tuple(name for name in columns if any(name in line.values for line in lines.values())),
        lines=tuple(lines.values()),
        failed=tuple(_failures(rows)),
        correlations=tuple(fisher.get("correlations", ())),
        seconds=round(sum(sum(row["seconds"].values()) for _, row in rows if "seconds" in row), 1),
    )


def _add_row(lines: Mapping[str, Line], row: Mapping[str, Any]) -> None:
    line = lines[row["method"]]
    for suite in (*SCORES, "drift"):
        if suite in row["scores"]:
            line.add(suite, row["scores"][suite]["adapter"])
            lines[BASE].add(suite, row["scores"][suite]["base"])
    for counted in row.get("mistakes", ()):
        if counted["suite"] == "general":
            line.count(counted["adapter"])
            if not lines[BASE].mistakes:
                lines[BASE].count(counted["base"])


def _add_benchmarks(lines: Mapping[str, Line], method: str, path: Path) -> None:
    for suite in _read(path).get("suites", ()):
        score = suite["scores"][0]
        lines[method].add(suite["suite"], score["adapter"])
        lines[BASE].add(suite["suite"], score["base"])


def _add_nats(lines: Mapping[str, Line], body: Mapping[str, Any]) -> None:
    """Take the groups that are whole methods. Of on-policy methods there are no targets."""
    for group in body.get("groups", ()):
        if group["lam"] is None and group["pick"] is None and group["method"] in lines:
            if group["method"].startswith("opsd"):
                continue
            lines[group["method"]].add("target_nats", group["mean"])
            lines[group["method"]].add("above_5_nats", group["share_above_tau"])


def _add_fisher(lines: Mapping[str, Line], body: Mapping[str, Any]) -> None:
    for run in body.get("runs", ()):
        if run["method"] in lines:
            lines[run["method"]].add("norm", run["sampled"]["total"]["squared_norm"])
            lines[run["method"]].add("ratio", run["sampled"]["total"]["ratio"])


def _failures(rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Iterator[str]:
    for seed, row in rows:
        if "error" in row:
            yield f"{row['method']}, seed {seed}: {row['error']['message']}"


def _read(path: Path) -> dict[str, Any]:
    """Return the file's object; empty if it is not there, since a study may have no such part."""
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return body
