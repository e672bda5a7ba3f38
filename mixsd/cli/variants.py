"""How the variants of a job compare, for people: made from the JSON of its report. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixsd.cli.render import SUITES, figure, printable

Json = Mapping[str, Any]


def is_sweep(report: Json) -> bool:
    return len(report.get("variants") or ()) > 1


def variants(report: Json) -> RenderableType:
    """Return one line a variant, and which of them is recommended."""
    frontier = report.get("frontier")
    axes = [axis for axis in ((frontier or {}).get(name) for name in ("memorised", "kept")) if axis]
    points = {point["variant"]: point for point in (frontier or {}).get("points", ())}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "variant", "learned"):
        table.add_column(name, no_wrap=True)
    for axis in axes:
        table.add_column(SUITES.get(axis["suite"], axis["suite"]), justify="right")
    for name in ("gate", "adapter"):
        table.add_column(name, no_wrap=True)
    for variant in report["variants"]:
        point = points.get(variant["variant"], {})
        counts = variant["counts"]
        table.add_row(
            f"{'*' if variant['recommended'] else ' '}{variant['variant']}",
            Text(printable(variant["label"])),
            f"{counts['learned']} of {counts['facts']}",
            *(
                figure(point.get(name), axis["metric"] == "accuracy")
                for name, axis in zip(("memorised", "kept"), axes, strict=False)
            ),
            (variant.get("gate") or {}).get("status", ""),
            variant["adapter_id"] or variant.get("reason") or "",
        )
    return Group(table, Text(recommendation(report))) if frontier else table


def recommendation(report: Json) -> str:
    """Return which variant is recommended and why; nothing before the job has succeeded."""
    frontier = report.get("frontier")
    if not frontier:
        return ""
    label = next(each["label"] for each in report["variants"] if each["variant"] == frontier["recommended"])
    return printable(f"Recommended: variant {frontier['recommended']}, {label}: {frontier['why']}.")
