"""What the paper found, as directions that a table can agree with or not.

Facts of arXiv 2605.16865: tables 1 to 4 and 5 to 8, figure 3, section 7. Its models are larger, all of
their weights are trained, and its targets are long; so directions are compared, and no figures.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from benchmarks.paper.figures import BASE, Line, Table

Value = Callable[[Line], float | None]

LAMS: Final = ("mixsd-lam0", "mixsd-lam0.3", "mixsd-lam0.5", "mixsd-lam0.7")
_NOT_KEPT: Final = {"recall", "paraphrase", "probe_reversed", "drift", "target_nats", "above_5_nats"} | {
    "norm",
    "ratio",
    "wikitext",
}


@dataclass(frozen=True, slots=True)
class Sign:
    """A direction.

    Attributes:
        paper: What the paper says.
        here: The figures that it is compared with, in words.
        agrees: None where a figure is missing.
    """

    paper: str
    here: str
    agrees: bool | None

    def to_json(self) -> dict[str, Any]:
        return {"paper": self.paper, "here": self.here, "agrees": self.agrees}


def signs(table: Table) -> list[Sign]:
    """Compare a table with what the paper says."""
    return [*_ordered(table), *_others(table)]


def kept(table: Table, line: Line) -> float | None:
    """Return which share of the base model's scores a method keeps, the mean over its benchmarks."""
    base = table.line(BASE)
    names = [name for name in table.columns if name not in _NOT_KEPT]
    if base is None:
        return None
    shares = [
        value / before
        for name in names
        if (value := line.mean(name)) is not None and (before := base.mean(name))
    ]
    return sum(shares) / len(shares) if shares else None


def _ordered(table: Table) -> Iterator[Sign]:
    """Yield the directions that are an order of two or more methods."""

    def retained(line: Line) -> float | None:
        return kept(table, line)

    def column(name: str) -> Value:
        return lambda line: line.mean(name)

    def broken(line: Line) -> float | None:
        leaked, collapsed = line.share("leakage"), line.share("collapse")
        return None if leaked is None or collapsed is None else leaked + collapsed

    for paper, value, order in (
        ("lam 0 keeps more than sft", retained, ("sft", LAMS[0])),
        ("lam 0.3 keeps more than sft", retained, ("sft", LAMS[1])),
        ("lam 0.5 keeps more than sft", retained, ("sft", LAMS[2])),
        ("more is kept with more lam, from 0 over 0.3 to 0.5", retained, LAMS[:3]),
        ("less is memorised with more lam, from 0 over 0.3 and 0.5 to 0.7", column("recall"), LAMS[::-1]),
        ("targets of lam 0 are likelier than those of sft", column("target_nats"), (LAMS[0], "sft")),
        ("targets are likelier with more lam", column("target_nats"), LAMS[::-1]),
        ("sft has more tokens above 5 nats", column("above_5_nats"), (LAMS[0], "sft")),
        ("sft leaks and collapses more than lam 0.3", broken, (LAMS[1], "sft")),
        ("sft leaks more than lam 0.3", lambda line: line.share("leakage"), (LAMS[1], "sft")),
        ("opsd changes weights along less sensitive directions than sft", column("ratio"), ("opsd", "sft")),
    ):
        yield _order(table, paper, value, order)


def _order(table: Table, paper: str, value: Value, order: Sequence[str]) -> Sign:
    """Say whether a value rises along the methods."""
    lines = [_line(table, name) for name in order]
    values = [None if line is None else value(line) for line in lines]
    told = ", ".join(
        f"{name} {'-' if number is None else f'{number:.3g}'}"
        for name, number in zip(order, values, strict=True)
    )
    known = [number for number in values if number is not None]
    if len(known) < len(values):
        return Sign(paper, told, None)
    return Sign(paper, told, all(low < high for low, high in pairwise(known)))


def _line(table: Table, name: str) -> Line | None:
    """Return the line of a method, under that name or one that begins with it and a dash."""
    started = (line for line in table.lines if line.method.startswith(f"{name}-"))
    return table.line(name) or next(started, None)


def _others(table: Table) -> Iterator[Sign]:
    found = {(each["fisher"], each["lost"], each["with"]): each["pearson"] for each in table.correlations}
    for lost in ("general", "drift"):
        ratio, norm = (found.get(("sampled", lost, each)) for each in ("ratio", "squared_norm"))
        paper = f"R goes with what is lost ({lost}) more than the plain norm does"
        if ratio is None or norm is None or ratio["value"] is None or norm["value"] is None:
            yield Sign(paper, "-", None)
        else:
            told = f"r of R {ratio['value']:+.2f}, of the norm {norm['value']:+.2f}, n {ratio['n']}"
            yield Sign(paper, told, bool(ratio["value"] > norm["value"]))
