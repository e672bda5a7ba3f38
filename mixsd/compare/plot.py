"""A comparison as a picture: memorisation to the right, retention upwards. Needs matplotlib.

Made to be read in print and without colours: methods differ in the shape and the grey of their
marks. Loads no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mixsd.compare.statistics import Figure, Summary, summaries
from mixsd.errors import MixsdError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTS: Final = ("compare.png", "compare.svg")

_ACROSS: Final = (
    ("recall", "memorised: recall of the training questions"),
    ("paraphrase", "carried over: recall of held-out paraphrases"),
)
_UPWARDS: Final = (
    ("general", "kept: general knowledge", False),
    ("drift", "kept: drift, nats per token (up is less)", True),
)
_MARKS: Final = "osD^vPX<>hp*8d"
_GREYS: Final = ("black", "white", "0.6")
_EDGES: Final = (-0.05, 1.05)
"""Of a share: an interval may go further."""
_SIZE: Final = 8.0
_PER_INCH: Final = 200


class NoMatplotlibError(MixsdError):
    """The package that draws is not installed."""

    code = "no_matplotlib"


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the file of a comparison; return what was written, nothing if no row can be shown.

    Raises:
        NoMatplotlibError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415  optional
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure as Page  # noqa: PLC0415
    except ImportError:
        raise NoMatplotlibError(
            "the plot needs matplotlib: pip install 'mixsd[plots]', and give the command again"
        ) from None
    found = summaries(document["rows"], document["comparison"]["evaluation"]["confidence"])
    across = [each for each in _ACROSS if _has(found, each[0])]
    upwards = [each for each in _UPWARDS if _has(found, each[0])]
    if not across or not upwards:
        return []
    with rc_context({"font.size": 9, "svg.hashsalt": "mixsd", "svg.fonttype": "none"}):
        page = Page(figsize=(4.2 * len(across) + 0.4, 3.4 * len(upwards) + 1.2), layout="constrained")
        FigureCanvasAgg(page)
        axes = page.subplots(len(upwards), len(across), squeeze=False, sharex="col", sharey="row")
        for row, (upper, title, is_turned) in zip(axes, upwards, strict=True):
            for panel, (name, _) in zip(row, across, strict=True):
                _panel(panel, found, name, upper)
            row[0].set_ylabel(title)
            if is_turned:
                row[0].invert_yaxis()
        for panel, (_, title) in zip(axes[-1], across, strict=True):
            panel.set_xlabel(title)
            low, high = panel.get_xlim()
            panel.set_xlim(max(low, _EDGES[0]), min(high, _EDGES[1]))
        handles, labels = axes[0][0].get_legend_handles_labels()
        page.suptitle(_title(document["comparison"]), fontsize="medium")
        page.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
        paths = [folder / name for name in PLOTS]
        for path in paths:
            stamp = {"Date": None} if path.suffix == ".svg" else None
            page.savefig(path, dpi=_PER_INCH, metadata=stamp)
    return paths


def _title(comparison: Mapping[str, Any]) -> str:
    confidence = comparison["evaluation"]["confidence"]
    return (
        f"{comparison['facts']['n']} facts, {comparison['base_model']['id']}; bars are {confidence:.0%} "
        "intervals; up and to the right is better"
    )


def _has(found: Sequence[Summary], name: str) -> bool:
    return any(name in each.figures for each in found)


def _panel(axes: "Axes", found: Sequence[Summary], across: str, upwards: str) -> None:
    """Show each method as a mark with its intervals, and where the base model stands."""
    for place, each in enumerate(found):
        if across not in each.figures or upwards not in each.figures:
            continue
        right, up = each.figures[across], each.figures[upwards]
        axes.errorbar(
            right.mean,
            up.mean,
            xerr=_lengths(right),
            yerr=_lengths(up),
            color="black",
            fmt=_MARKS[place % len(_MARKS)],
            markersize=_SIZE,
            markerfacecolor=_GREYS[place % len(_GREYS)],
            markeredgecolor="black",
            ecolor="0.45",
            elinewidth=0.9,
            capsize=2.5,
            label=each.method,
        )
    base = next((each.figures[upwards].base for each in found if upwards in each.figures), None)
    if base is not None:
        axes.plot([], [], color="0.6", linewidth=0.8, linestyle="--", label="base model")
        axes.axhline(base, color="0.6", linewidth=0.8, linestyle="--")
    axes.grid(visible=True, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def _lengths(figure: Figure) -> list[list[float]] | None:
    """Return how far an interval goes to both sides, as matplotlib wants it."""
    if figure.low is None or figure.high is None:
        return None
    return [[max(0.0, figure.mean - figure.low)], [max(0.0, figure.high - figure.mean)]]
