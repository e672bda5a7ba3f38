"""The report of a job for people: tables made from the JSON of the API, and nothing else.

Pure: nothing here reads a file, a clock or the network, and nothing prints. What a model wrote
is shown as plain text, so neither markup nor control characters in it reach the terminal.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixsd.evaluation.said import gate_line, mistake_lines

OUTCOMES: Final[Mapping[str, str]] = {
    "learned": "green",
    "already_known": "cyan",
    "not_learned": "yellow",
    "no_supervision": "magenta",
    "skipped": "dim",
    "regressed": "red",
}
"""Each outcome of a fact with the colour it is shown in, in the order of the summary."""

SUITES: Final[Mapping[str, str]] = {
    "recall": "recall (the training questions)",
    "paraphrase": "recall (held-out paraphrases)",
    "probe": "probes",
    "probe_reversed": "probes, reversed",
    "probe_hop": "probes, one hop further",
    "probe_neighbour": "probes of neighbours",
    "probe_other": "probes, others",
    "general": "general knowledge",
    "drift": "drift (nats per token)",
}

Json = Mapping[str, Any]


def report(body: Json, facts: Iterable[Json]) -> RenderableType:
    """Return all of a job's report, given the results of its facts."""
    parts: list[RenderableType] = [fact_table(facts), Text()]
    parts.append(Text(outcome_counts(body["counts"])))
    if body["scores"]:
        parts += [Text(), score_table(body["scores"], body.get("confidence"))]
    gate = body.get("gate")
    lines = [supervision_line(body.get("supervision")), training_line(body.get("training"))]
    lines.append(gate_line(gate) if gate else "")
    lines += [f"Wrong answers of {line}" for line in mistake_lines(body.get("mistakes") or ())]
    parts += [Text(), *(Text(line) for line in lines if line)]
    if body["phases"]:
        parts += [Text(), phase_table(body["phases"])]
    return Group(*parts)


def fact_table(facts: Iterable[Json]) -> Table:
    """Return one line per fact: its outcome, the training question and what was answered to it."""
    table = Table(expand=True, box=None, header_style="bold", pad_edge=False)
    table.add_column("outcome", no_wrap=True, min_width=max(map(len, OUTCOMES)))
    for name, ratio in (("question", 5), ("expected", 3), ("base answers", 5), ("adapter answers", 5)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=ratio)
    for fact in facts:
        first = fact["asked"][0] if fact["asked"] else {}
        table.add_row(
            Text(fact["outcome"], style=OUTCOMES.get(fact["outcome"], "")),
            _plain(fact["question"]),
            _plain(fact["answer"]),
            _judged(first.get("base_answer"), correct=first.get("base_correct")),
            _judged(first.get("adapter_answer"), correct=first.get("adapter_correct")),
        )
    return table


def outcome_counts(counts: Json) -> str:
    """Return the counts of outcomes as a sentence, without those that are 0.

    Example:
        >>> outcome_counts({"facts": 3, "learned": 2, "not_learned": 1, "skipped": 0})
        '3 facts: 2 learned, 1 not learned'
    """
    named = [f"{counts[name]} {name.replace('_', ' ')}" for name in OUTCOMES if counts.get(name)]
    return f"{counts['facts']} facts: {', '.join(named)}" if named else f"{counts['facts']} facts"


def score_table(scores: Sequence[Json], confidence: float | None) -> Table:
    """Return what base and adapter score in each suite, and the interval of the difference."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("measured")
    for name in ("asked", "base", "adapter", "difference", interval_title(confidence)):
        table.add_column(name, justify="right")
    for score in scores:
        share = score["metric"] == "accuracy"
        ends = (score.get("low"), score.get("high"))
        interval = "" if None in ends else f"{figure(ends[0], share, '+')} .. {figure(ends[1], share, '+')}"
        table.add_row(
            SUITES.get(score["suite"], score["suite"]),
            str(score["n"]),
            figure(score["base"], share),
            figure(score["adapter"], share),
            figure(score["difference"], share, "+"),
            interval,
        )
    return table


def interval_title(confidence: float | None) -> str:
    return f"{confidence:.0%} interval" if confidence else "interval"


def supervision_line(summary: Json | None) -> str:
    """Return how the supervision was made, as far as it is known; nothing if there is none."""
    figures = _known(
        summary,
        ("{verified} of {facts} facts have a verified text", "verified", "facts"),
        ("{attempts} attempts", "attempts"),
        ("{tokens} tokens", "tokens"),
        ("mean lam {mean_lam:.2f}", "mean_lam"),
        ("naive share {naive_share:.0%}", "naive_share"),
        ("{nats_per_token:.2f} nats per token under the base model", "nats_per_token"),
    )
    return f"Supervision: {', '.join(figures)}" if figures else ""


_STOPPED: Final = {
    "learned": " because every fact was learned",
    "patience": " because recall did not rise any more",
}


def training_line(summary: Json | None) -> str:
    """Return how training went, as far as it is known; nothing if there was none."""
    figures = _known(
        summary,
        ("{steps} steps", "steps"),
        ("{epochs:g} epochs", "epochs"),
        ("learning rate {learning_rate:.2g}", "learning_rate"),
        ("loss {first_loss:.2f} to {last_loss:.2f}", "first_loss", "last_loss"),
    )
    if summary and summary.get("stopped_early"):
        reason = _STOPPED.get(summary.get("stopped_because") or "learned", "")
        figures.append(f"stopped early{reason}")
    return f"Training: {', '.join(figures)}" if figures else ""


def _known(summary: Json | None, *forms: tuple[str, ...]) -> list[str]:
    """Fill in the forms all of whose figures are known. Each comes with the names of its figures."""
    known = {name: value for name, value in (summary or {}).items() if value is not None}
    return [form.format_map(known) for form, *names in forms if all(name in known for name in names)]


def phase_table(phases: Sequence[Json]) -> Table:
    """Return how long each phase took and what it did."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("phase")
    table.add_column("time", justify="right")
    table.add_column("done", justify="right")
    for phase in phases:
        table.add_row(phase["phase"], duration(phase.get("seconds")), amount(phase))
    known = [phase["seconds"] for phase in phases if phase.get("seconds") is not None]
    table.add_row("all", duration(sum(known)), "", style="bold")
    return table


def amount(progress: Json) -> str:
    """Return `done/total unit` as far as it is known.

    Example:
        >>> amount({"done": 3, "total": 24, "unit": "facts"})
        '3/24 facts'
    """
    if progress.get("done") is None:
        return ""
    total = f"/{progress['total']}" if progress.get("total") else ""
    return f"{progress['done']}{total} {progress.get('unit') or ''}".strip()


def duration(seconds: float | None) -> str:
    """Return a length of time to read.

    Example:
        >>> duration(4.26), duration(75), duration(None)
        ('4.3 s', '1 min 15 s', '')
    """
    if seconds is None:
        return ""
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def printable(text: str) -> str:
    """Return a text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _plain(text: str | None) -> Text:
    return Text("-", style="dim") if text is None else Text(printable(text))


def _judged(answer: str | None, *, correct: bool | None) -> Text:
    shown = _plain(answer)
    if answer is not None and correct is not None:
        shown = Text.assemble(("✓ ", "green") if correct else ("✗ ", "red"), shown)
    return shown


def figure(value: float | None, share: bool, sign: str = "") -> str:  # noqa: FBT001  two kinds of figure
    """Return a figure to read, `-` if there is none."""
    if value is None:
        return "-"
    return f"{value:{sign}.1%}" if share else f"{value:{sign}.3f}"
