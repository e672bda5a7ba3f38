"""A comparison as Markdown. Loads no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mixsd.compare.statistics import METRICS, Figure, Metric, Summary, summaries

_WHOLE: Final = ("steps", "supervised", "seconds")
"""Counts, shown without decimals of a share."""
_COMPARED: Final = ("recall", "paraphrase", "probe", "general", "drift")


def markdown(document: Mapping[str, Any]) -> str:
    """Return the file of a comparison as a page: figures, differences, outcomes, failures."""
    comparison, rows = document["comparison"], document["rows"]
    found = summaries(rows, comparison["evaluation"]["confidence"])
    parts = [_head(comparison), _legend(comparison)]
    if found:
        parts += ["## Figures", _figures(found)]
        parts += ["## Difference to the base model", _differences(found)]
        parts += ["## Outcomes", _outcomes(found)]
    if failed := [row for row in rows if "error" in row]:
        parts += ["## Failed", "\n".join(map(_failure, failed))]
    return "\n\n".join(parts) + "\n"


def _head(comparison: Mapping[str, Any]) -> str:
    base, match = comparison["base_model"], comparison["match"]
    budget = f"{match['steps']} steps each"
    if match["by"] == "recall":
        budget = (
            f"each until it answers {match['recall']:.0%} of the training questions, "
            f"looked at every {match['every']} steps, {match['steps']} at most"
        )
    return f"# Comparison\n\n{comparison['facts']['n']} facts, base model `{base['id']}`; {budget}."


def _legend(comparison: Mapping[str, Any]) -> str:
    confidence = comparison["evaluation"]["confidence"]
    return (
        f"In brackets stand {confidence:.0%} intervals: over seeds where a method has at least two "
        "(Student's t), else over the questions of the one run (paired bootstrap), marked with *. "
        "They do not speak of other facts or other models."
    )


def _figures(found: Sequence[Summary]) -> str:
    shown = [metric for metric in METRICS if any(metric.name in each.figures for each in found)]
    lines = [_line(["method", "seeds", *(metric.title for metric in shown)])]
    lines += [_line(["---"] * (len(shown) + 2))]
    lines += [_line(["base model", "", *(_base(metric, found) for metric in shown)])]
    lines += [
        _line([each.method, _seeds(each), *(_cell(metric.name, each) for metric in shown)]) for each in found
    ]
    return "\n".join(lines)


def _differences(found: Sequence[Summary]) -> str:
    shown = [
        metric
        for metric in METRICS
        if metric.name in _COMPARED and any(metric.name in f.figures for f in found)
    ]
    lines = [_line(["method", *(metric.title for metric in shown)]), _line(["---"] * (len(shown) + 1))]
    for each in found:
        differences = [each.figures[m.name].less_base() if m.name in each.figures else None for m in shown]
        lines += [_line([each.method, *(_number(figure, signed=True) for figure in differences)])]
    return "\n".join(lines)


def _outcomes(found: Sequence[Summary]) -> str:
    """Show the mean number of facts by outcome."""
    names = [name for name in found[0].counts if any(each.counts[name] for each in found)]
    lines = [
        _line(["method", *(name.replace("_", " ") for name in names)]),
        _line(["---"] * (len(names) + 1)),
    ]
    lines += [_line([each.method, *(f"{each.counts[name]:.3g}" for name in names)]) for each in found]
    return "\n".join(lines)


def _failure(row: Mapping[str, Any]) -> str:
    error = row["error"]
    message = " ".join(str(error["message"]).split())
    return f"* {row['method']}, seed {row['seed']}: {message} [{error['code']}]"


def _seeds(each: Summary) -> str:
    return ", ".join(str(seed) for seed in each.seeds if seed is not None) or "-"


def _base(metric: Metric, found: Sequence[Summary]) -> str:
    if metric.name == "recall_supervised":
        return ""  # of other facts for each method
    values = [each.figures[metric.name].base for each in found if metric.name in each.figures]
    return f"{values[0]:.2f}" if values and values[0] is not None else ""


def _cell(name: str, each: Summary) -> str:
    figure = each.figures.get(name)
    if figure is None:
        return ""
    if name == "steps" and each.reached is not None and each.reached < len(each.seeds):
        return f"{figure.mean:.4g}, reached by {each.reached} of {len(each.seeds)}"
    return f"{figure.mean:.4g}" if name in _WHOLE else _number(figure)


def _number(figure: Figure | None, *, signed: bool = False) -> str:
    if figure is None:
        return ""
    form = "+.2f" if signed else ".2f"
    text = format(figure.mean, form)
    if figure.low is None or figure.high is None:
        return text
    mark = "*" if figure.over == "run" else ""
    return f"{text} [{figure.low:{form}}, {figure.high:{form}}]{mark}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
