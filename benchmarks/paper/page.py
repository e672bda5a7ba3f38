"""The table of a study as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from benchmarks.paper.figures import KINDS, Line, Table
from benchmarks.paper.signs import kept, signs
from benchmarks.paper.study import Study

TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "probe_reversed": "reversed",
        "kgfact_retrieval": "Retrieval",
        "arc_easy": "ARC-easy",
        "lambada_openai": "LAMBADA",
        "target_nats": "target nats",
        "above_5_nats": "above 5 nats",
        "norm": "squared norm",
        "ratio": "R",
    }
)
_AGREES: Final[Mapping[bool | None, str]] = MappingProxyType({True: "yes", False: "no", None: "-"})
_FORMS: Final[Mapping[str, str]] = MappingProxyType({"norm": ".1f"})


def markdown(study: Study, tables: Sequence[Table]) -> str:
    """Return the page: settings, a table for each corpus, and the paper's directions."""
    parts = [_head(study)]
    for table in tables:
        parts += [
            f"## {table.corpus}, {table.facts} facts",
            _figures(table),
            "### Wrong answers",
            _kinds(table),
        ]
        parts += ["### The paper's directions", _signs(table)]
        if table.failed:
            parts += ["### Failed", "\n".join(f"* {line}" for line in table.failed)]
    return "\n\n".join(parts) + "\n"


def _head(study: Study) -> str:
    items = ", ".join(f"{TITLES.get(name, name)} {count}" for name, count in study.suites.items())
    return (
        f"# The paper's table: {study.model}\n\n"
        f"{study.steps} steps each, seeds {', '.join(map(str, study.seeds))}; items: {items}. Means over the "
        "seeds, in parentheses the smallest and the largest. `kept` is the share of the base model's score "
        "that is left, the mean over general knowledge and the benchmarks; target nats are the loss of a "
        "target's tokens under the base model; R and the squared norm are of the adapter, with the Fisher of "
        "answers that the base model draws."
    )


def _figures(table: Table) -> str:
    heads = ["method", *(TITLES.get(name, name) for name in table.columns), "kept"]
    rows = [heads, ["---"] * len(heads)]
    rows += [
        [line.method, *(_cell(line, name) for name in table.columns), _kept(table, line)]
        for line in table.lines
    ]
    return "\n".join(map(_row, rows))


def _cell(line: Line, column: str) -> str:
    found = line.values.get(column)
    if not found:
        return "-"
    form = _FORMS.get(column, ".2f")
    text = format(sum(found) / len(found), form)
    return text if len(found) == 1 else f"{text} ({min(found):{form}}-{max(found):{form}})"


def _kept(table: Table, line: Line) -> str:
    share = kept(table, line)
    return "-" if share is None else f"{share:.2f}"


def _kinds(table: Table) -> str:
    heads = ["method", "wrong answers to general questions", *KINDS]
    rows = [heads, ["---"] * len(heads)]
    rows += [
        [line.method, str(sum(line.mistakes.values())), *_shares(line)]
        for line in table.lines
        if line.mistakes
    ]
    return "\n".join(map(_row, rows))


def _shares(line: Line) -> Iterator[str]:
    for kind in KINDS:
        share = line.share(kind)
        yield "-" if share is None else f"{share:.0%}"


def _signs(table: Table) -> str:
    rows = [["the paper says", "here", "agrees"], ["---"] * 3]
    rows += [[sign.paper, sign.here, _AGREES[sign.agrees]] for sign in signs(table)]
    return "\n".join(map(_row, rows))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
