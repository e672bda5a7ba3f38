"""Pictures of analyses, to be read in print and without colours. Needs matplotlib.

Loads no torch.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mixsd.analysis.frontier import KEPT, MEMORISED
from mixsd.compare.plot import NoMatplotlibError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Body = Mapping[str, Any]

_MARKS: Final = "osD^vPX<>hp*8d"
_LINES: Final = ("-", "--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (1, 4)))
_GREYS: Final = ("black", "0.5", "0.3", "0.65")
_FILLS: Final = ("black", "white", "0.6")
_LEGEND_COLUMNS: Final = 3
_FAINT: Final[Mapping[str, Any]] = {"color": "0.6", "linewidth": 0.8, "linestyle": "--"}
_SHOWN_TOKENS: Final = 120
_BARS: Final = {
    "naive": ("white", "////"),
    "expert": ("0.55", ""),
    "guarded": ("black", ""),
    "ended": ("white", "xxxx"),
    "opened": ("0.85", "||||"),
    None: ("0.85", ".."),
}
_PER_INCH: Final = 200
_LOOKS: Final[dict[Any, Any]] = {"font.size": 9, "text.parse_math": False, "svg.fonttype": "none"}
_STAMPS: Final[Mapping[str, dict[str, None]]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
}
"""What is left out, so that equal pictures are equal files."""


def render(name: str, body: Body) -> dict[str, bytes]:
    """Return the picture of an analysis, by format.

    Args:
        name: Of the analysis.
        body: What it came to.

    Raises:
        NoMatplotlibError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415  optional
    except ImportError:
        raise NoMatplotlibError(
            "there are no figures without matplotlib: pip install 'mixsd[plots]', and give the command again"
        ) from None
    draw = next(draw for prefix, draw in _DRAWN.items() if name.startswith(prefix))
    # A salt of its own, since pictures of one page must not share ids.
    with rc_context({**_LOOKS, "svg.hashsalt": name}):
        page = draw(body)
        made = {}
        for kind, stamp in _STAMPS.items():
            data = io.BytesIO()
            page.savefig(data, format=kind, dpi=_PER_INCH, metadata=stamp)
            made[kind] = data.getvalue()
    return made


def _page(rows: int, columns: int) -> tuple["Figure", Any]:
    """Return an empty page and its panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure as Page  # noqa: PLC0415

    page = Page(figsize=(4.4 * columns + 0.2, 3.3 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(page)
    return page, page.subplots(rows, columns, squeeze=False)


def draw_nats(body: Body) -> "Figure":
    """Draw the ECDF of each method, and that of naive and expert picks."""
    whole = [group for group in body["groups"] if group["lam"] is None and group["pick"] is None]
    picked = [group for group in body["groups"] if group["lam"] is None and group["pick"] is not None]

    panels = [("all tokens", whole, _method_of), ("by where a token came from", picked, _pick_of)]
    page, axes = _page(1, 2 if picked else 1)
    for panel, (title, groups, named) in zip(axes[0], panels, strict=False):
        _curves(panel, body, groups, named)
        panel.set_title(title, fontsize="medium")
    axes[0][0].set_ylabel("share of tokens that cost no more")
    return page


def _method_of(group: Body) -> str:
    return str(group["method"])


def _pick_of(group: Body) -> str:
    return f"{group['method']}: {group['pick']}"


def _curves(axes: "Axes", body: Body, groups: Sequence[Body], named: Callable[[Body], str]) -> None:
    for place, group in enumerate(groups):
        nats = [0.0, *(x for x, _ in group["ecdf"])]
        shares = [0.0, *(y for _, y in group["ecdf"])]
        axes.step(
            nats,
            shares,
            where="post",
            linestyle=_LINES[place % len(_LINES)],
            color=_GREYS[place // len(_LINES) % len(_GREYS)],
            linewidth=1.3,
            label=f"{named(group)} ({group['share_above_tau']:.1%} above {body['tau']:g})",
        )
    axes.axvline(body["tau"], **_FAINT)
    far = max((group["quantiles"]["0.99"] for group in groups), default=1.0)
    axes.set_xlim(0, max(far, 1.2 * body["tau"]))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("nats under the base model, bare question")
    _finish(axes)


def draw_fisher(body: Body) -> "Figure":
    """Draw R layer by layer, and R and the plain norm against what was lost."""
    suites = [suite for suite in body["losses"] if sum(suite in run["lost"] for run in body["runs"]) > 1]
    scatters = [(name, suite) for suite in suites for name in ("ratio", "squared_norm")]

    page, axes = _page(1 + len(suites), 2)
    for panel, kind in zip(axes[0], body["answers"], strict=True):
        _by_layer(panel, body, kind)
    for panel, (name, suite) in zip(axes[1:].flat, scatters, strict=True):
        _against(panel, body, name, suite)
    handles, labels = axes[0][0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False)
    return page


def _by_layer(axes: "Axes", body: Body, kind: str) -> None:
    seen: dict[str, int] = {}
    for run in body["runs"]:
        place = seen.setdefault(run["method"], len(seen))
        parts = [(name, moved["ratio"]) for name, moved in run[kind]["layers"].items() if name.isdigit()]
        numbers = [int(name) for name, ratio in parts if ratio is not None]
        is_first = list(run[kind]["layers"]) and run["run"] == _first(body, run["method"])
        axes.plot(
            numbers,
            [ratio for _, ratio in parts if ratio is not None],
            color="0.35",
            linewidth=0.8,
            label=run["method"] if is_first else None,
            **_mark(place),
        )
    axes.axhline(1.0, **_FAINT)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("layer")
    axes.set_ylabel("alignment ratio R of the layer")
    axes.set_title(f"Fisher: {kind}", fontsize="medium")
    _grid(axes)


def _first(body: Body, method: str) -> str:
    return next(str(run["run"]) for run in body["runs"] if run["method"] == method)


def _mark(place: int) -> dict[str, Any]:
    return {
        "marker": _MARKS[place % len(_MARKS)],
        "markersize": 5.0,
        "markerfacecolor": _FILLS[place % len(_FILLS)],
        "markeredgecolor": "black",
    }


def _against(axes: "Axes", body: Body, name: str, suite: str) -> None:
    """Show runs by a figure of the sampled Fisher and by what they lost."""
    seen: dict[str, int] = {}
    for run in body["runs"]:
        place = seen.setdefault(run["method"], len(seen))
        value = run["sampled"]["total"][name]
        if value is not None and suite in run["lost"]:
            axes.plot([value], [run["lost"][suite]], linestyle="none", **_mark(place))
    found = next(
        each["spearman"]
        for each in body["correlations"]
        if (each["fisher"], each["lost"], each["with"]) == ("sampled", suite, name)
    )
    said = "not defined" if found["value"] is None else f"{found['value']:+.2f}"
    axes.set_title(f"Spearman {said}, n {found['n']}", fontsize="medium")
    axes.set_xlabel("alignment ratio R (sampled)" if name == "ratio" else "squared norm of the change")
    axes.set_ylabel(body["losses"][suite].replace(", ", ",\n", 1))
    _grid(axes)


def draw_frontier(body: Body) -> "Figure":
    """Draw each curve with its chord; a ring marks the knee."""
    pairs = list(dict.fromkeys((curve["memorised"], curve["kept"]) for curve in body["curves"]))
    columns = min(2, len(pairs))
    page, axes = _page(-(-len(pairs) // columns), columns)
    for panel in axes.flat[len(pairs) :]:
        panel.set_axis_off()
    for panel, pair in zip(axes.flat, pairs, strict=False):
        curves = [curve for curve in body["curves"] if (curve["memorised"], curve["kept"]) == pair]
        for place, curve in enumerate(curves):
            _frontier(panel, curve, place)
        panel.set_xlabel(MEMORISED[pair[0]])
        panel.set_ylabel(KEPT[pair[1]][0])
        if curves[0]["kept_is_turned"]:
            panel.invert_yaxis()
        _grid(panel)
    page.suptitle("numbers are lam, rings are knees; up and to the right is better", fontsize="medium")
    handles, labels = axes[0][0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False)
    return page


def _frontier(axes: "Axes", curve: Body, place: int) -> None:
    points = curve["points"]
    x, y = ([point[name]["mean"] for point in points] for name in ("memorised", "kept"))
    axes.plot([x[0], x[-1]], [y[0], y[-1]], **_FAINT)
    axes.errorbar(
        x,
        y,
        xerr=_lengths([point["memorised"] for point in points]),
        yerr=_lengths([point["kept"] for point in points]),
        color="black",
        ecolor="0.6",
        elinewidth=0.8,
        capsize=2.0,
        linewidth=1.0,
        linestyle=_LINES[place % len(_LINES)],
        label=_label(curve),
        **_mark(place),
    )
    for point, right, up in zip(points, x, y, strict=True):
        axes.annotate(f"{point['lam']:g}", (right, up), textcoords="offset points", xytext=(6, 5))
        if point["lam"] == curve["knee"]["lam"]:
            axes.plot([right], [up], "o", markersize=13, markerfacecolor="none", markeredgecolor="black")


def _label(curve: Body) -> str:
    """Name a curve by its first and its last method."""
    first, *others = curve["methods"]
    return f"{curve['run']}: {first} ... {others[-1]}" if others else f"{curve['run']}: {first}"


def _lengths(figures: Sequence[Body]) -> list[list[float]]:
    ends = [figure["interval"] or [figure["mean"]] * 2 for figure in figures]
    return [
        [max(0.0, figure["mean"] - low) for figure, (low, _) in zip(figures, ends, strict=True)],
        [max(0.0, high - figure["mean"]) for figure, (_, high) in zip(figures, ends, strict=True)],
    ]


def draw_fact(body: Body) -> "Figure":
    """Draw the loss of each token of the first text; hatches tell picks apart."""
    text = body["texts"][0]
    tokens = text["tokens"][:_SHOWN_TOKENS]
    page, axes = _page(1, 1)
    page.set_size_inches(max(4.6, 0.28 * len(tokens) + 1.4), 3.6)
    panel = axes[0][0]
    for pick, (fill, hatch) in _BARS.items():
        places = [place for place, token in enumerate(tokens) if token["pick"] == pick]
        if places:
            panel.bar(
                places,
                [tokens[place]["nats"] for place in places],
                color=fill,
                hatch=hatch,
                edgecolor="black",
                linewidth=0.6,
                label=pick or "not written by the model",
            )
    panel.axhline(body["tau"], **_FAINT)
    # As ASCII: fonts lack characters, and a picture must not fail on a text.
    panel.set_xticks(range(len(tokens)), [ascii(token["text"])[1:-1] for token in tokens], rotation=90)
    panel.set_ylabel("nats under the base model,\nbare question")
    panel.set_title(ascii(text["question"])[1:-1][:100], fontsize="medium")
    _finish(panel)
    return page


def _finish(axes: "Axes") -> None:
    _grid(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")


def _grid(axes: "Axes") -> None:
    axes.grid(visible=True, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


_DRAWN: Final[Mapping[str, Callable[[Body], "Figure"]]] = {
    "nats": draw_nats,
    "fisher": draw_fisher,
    "frontier": draw_frontier,
    "fact-": draw_fact,
}
"""By how the name of an analysis begins."""
