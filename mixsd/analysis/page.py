"""All analyses of a folder as one page that needs nothing else. Loads no torch.

What stands in the files is data of users: every text is escaped.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

Body = Mapping[str, Any]

FILE: Final = "index.html"
_ORDER: Final = ("nats", "fisher", "frontier")
_HEAD: Final = re.compile(rb"^.*?(?=<svg)", re.DOTALL)
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #111; background: #fff; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; }
figure { margin: 1rem 0; overflow-x: auto; } figure svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ccc; }
th { border-bottom: 2px solid #111; } td.text, th.text { text-align: left; }
.note { border-left: 3px solid #111; padding-left: 0.7rem; }
.tokens { line-height: 2.6; overflow-wrap: anywhere; }
.token { display: inline-block; border: 1px solid #999; margin: 1px; padding: 0 3px; line-height: 1.3;
  vertical-align: top; white-space: pre; font-family: ui-monospace, monospace; }
.token small { display: block; text-align: center; color: #333; }
.naive { border: 2px dashed #111; } .expert { background: #e4e4e4; }
.guarded { background: #333; color: #fff; } .ended { border: 3px double #111; }
.opened { border: 2px dotted #111; }
.guarded small { color: #fff; } .unlikely small { font-weight: bold; text-decoration: underline; }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
""".strip()


def render(out: Path, title: str, runs: Sequence[str]) -> str:
    """Return a page with all analyses of these runs that lie in a folder.

    Args:
        out: Folder of the analyses. What is of other runs, or no analysis, is left out.
        title: Of the page.
        runs: What the analyses must say that they are of.
    """
    parts = [_section(name, body, out / name) for name, body in _bodies(out, runs)]
    listed = "".join(f"<li>{escape(run)}</li>" for run in runs)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><details><summary>{len(runs)} runs</summary><ul>{listed}</ul></details>"
        f"{''.join(parts)}</body></html>\n"
    )


def _bodies(out: Path, runs: Sequence[str]) -> Iterator[tuple[str, Body]]:
    facts = sorted(path.name for path in out.glob("fact-*") if path.is_dir())
    for name in (*_ORDER, *facts):
        try:
            body = json.loads((out / name / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(body, dict) and body.get("runs_of") == list(runs):
            yield name, body


def _section(name: str, body: Body, folder: Path) -> str:
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in body["notes"])
    picture = folder / f"{name}.svg"
    figure = ""
    if picture.is_file():
        figure = f"<figure>{_HEAD.sub(b'', picture.read_bytes(), count=1).decode()}</figure>"
    told = next(tell for prefix, tell in _TOLD.items() if name.startswith(prefix))
    return (
        f'<section id="{escape(name)}"><h2>{escape(body["title"])}</h2><p>{escape(body["definition"])}</p>'
        f"{notes}{figure}{told(body)}</section>"
    )


def _nats(body: Body) -> str:
    header = (
        "method",
        "lam",
        "pick",
        "texts",
        "tokens",
        "mean",
        "interval",
        "median",
        "90%",
        f"above {body['tau']:g}",
        "interval",
    )
    rows = [
        (
            group["method"],
            _number(group["lam"], "g"),
            group["pick"] or "",
            group["texts"],
            group["tokens"],
            _number(group["mean"]),
            _ends(group["mean_interval"]),
            _number(group["quantiles"]["0.5"]),
            _number(group["quantiles"]["0.9"]),
            _number(group["share_above_tau"], ".1%"),
            _ends(group["share_interval"], ".1%"),
        )
        for group in body["groups"]
    ]
    return _table(header, rows, texts=(0, 2))


def _fisher(body: Body) -> str:
    header = ("run", "Fisher", "weights", "squared norm", "weighted displacement", "mean F", "R")
    rows = [
        (
            run["run"],
            kind,
            run[kind]["total"]["weights"],
            _number(run[kind]["total"]["squared_norm"], ".4g"),
            _number(run[kind]["total"]["weighted_displacement"], ".3g"),
            _number(run[kind]["total"]["mean_fisher"], ".3g"),
            _number(run[kind]["total"]["ratio"], ".3f"),
        )
        for run in body["runs"]
        for kind in ("empirical", "sampled")
    ]
    found = _table(header, rows, texts=(0, 1))
    if not body["correlations"]:
        return f"{found}<p>Fewer than two runs say what was lost, so there is nothing to correlate.</p>"
    names = {"ratio": "R", "squared_norm": "squared norm"}
    told = [
        (
            each["fisher"],
            each["lost"],
            names[each["with"]],
            each["pearson"]["n"],
            *(_correlation(each[kind]) for kind in ("pearson", "spearman", "partial")),
        )
        for each in body["correlations"]
    ]
    head = ("Fisher", "loss of", "with", "n", "Pearson", "Spearman", "partial Pearson")
    return (
        f"{found}<h3>Correlation with what was lost</h3>{_table(head, told, texts=(0, 1, 2))}"
        f"<p>In brackets {body['confidence']:.0%} intervals: Fisher's z; of Spearman's by Bonett and Wright. "
        "Partial: with the other of the two figures held fast. The runs count as independent, which seeds of "
        "one method and runs on the same facts are not, so the intervals are too narrow; with fewer than "
        "four runs there are none, nor of 1 and -1.</p>"
    )


def _correlation(found: Body) -> str:
    if found["value"] is None:
        return "-"
    ends = None if found["low"] is None else (found["low"], found["high"])
    return f"{found['value']:+.2f} {_ends(ends, '+.2f')}"


def _frontier(body: Body) -> str:
    return "".join(map(_curve, body["curves"]))


def _curve(curve: Body) -> str:
    knee = curve["knee"]
    said = (
        knee["why"]
        if knee["lam"] is None
        else f"knee at lam {knee['lam']:g}, {knee['distance']:.2f} above the line"
    )
    if knee["support"]:
        said += "; the knee in resamples: " + ", ".join(
            f"{lam}: {share:.0%}" for lam, share in knee["support"].items()
        )
    rows = [
        (
            _number(point["lam"], "g"),
            len(point["seeds"]),
            _number(point["memorised"]["mean"]),
            _ends(point["memorised"]["interval"]),
            _number(point["kept"]["mean"]),
            _ends(point["kept"]["interval"]),
        )
        for point in curve["points"]
    ]
    head = ("lam", "seeds", curve["memorised"], "interval", curve["kept"], "interval")
    title = f"{curve['run']}: {', '.join(curve['methods'])}, {curve['memorised']} against {curve['kept']}"
    bend = escape(f"{said[:1].upper()}{said[1:]}.")
    return f"<h3>{escape(title)}</h3><p>{bend}</p>{_table(head, rows)}"


def _fact(body: Body) -> str:
    parts = []
    for text in body["texts"]:
        trained = "trained on" if text["trained_on"] else f"not trained on ({text['reason']})"
        expert = text["expert_nats_per_token"]
        shown = "" if expert is None else f", {expert:.2f} under the expert"
        parts.append(
            f"<h3>{escape(text['question'])}</h3><p>{escape(text['run'])}; text {text['generation']}, "
            f"{escape(text['method'])}, lam {text['lam']:g}, {text['attempts']} attempts, {escape(trained)}; "
            f"{text['nats_per_token']:.2f} nats per token under the base model{shown}.</p>"
            f'<p class="tokens">{"".join(_token(token, body["tau"]) for token in text["tokens"])}</p>'
        )
    legend = (
        "<p>Under each token stand its nats, bold if above the threshold: "
        '<span class="token naive">naive</span> '
        '<span class="token expert">expert</span> <span class="token guarded">guarded</span> '
        '<span class="token ended">ended</span> <span class="token opened">opened</span> '
        '<span class="token">not written by the model</span></p>'
    )
    return legend + "".join(parts)


def _token(token: Body, tau: float) -> str:
    kind = " ".join(filter(None, ("token", token["pick"], "unlikely" if token["nats"] > tau else "")))
    shown = token["text"].replace("\n", "\u23ce") or "\u00a0"
    return f'<span class="{escape(kind)}">{escape(shown)}<small>{token["nats"]:.2f}</small></span>'


_TOLD: Final[Mapping[str, Callable[[Body], str]]] = {
    "nats": _nats,
    "fisher": _fisher,
    "frontier": _frontier,
    "fact-": _fact,
}


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]], texts: Sequence[int] = ()) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        said = (
            f"<{tag}{' class=text' if place in texts else ''}>{escape(str(cell))}</{tag}>"
            for place, cell in enumerate(cells)
        )
        return f"<tr>{''.join(said)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{line(header, "th")}</thead><tbody>{body}</tbody></table></div>'


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)


def _ends(ends: Sequence[float] | None, form: str = ".3f") -> str:
    return "" if ends is None else f"[{ends[0]:{form}}, {ends[1]:{form}}]"
