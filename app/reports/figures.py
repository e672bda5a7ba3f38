"""Numbers of a report as people read them, alike on the page and in Markdown."""

from datetime import datetime
from typing import Final

from app.adapters.schemas import Gate
from app.ledger.schemas import Counts, ScoreRead

SUITES: Final = {
    "recall": "recall: the training questions",
    "paraphrase": "recall: held-out paraphrases",
    "probe": "probes",
    "probe_reversed": "probes, reversed",
    "probe_hop": "probes, one hop further",
    "probe_neighbour": "probes of neighbours",
    "probe_other": "probes, others",
    "general": "general knowledge",
    "drift": "drift on the model's own text",
}
KEPT: Final = frozenset({"general", "drift", "probe_neighbour"})
"""Suites that measure what must not change."""

OUTCOMES: Final = {
    "learned": "the adapter answers it",
    "already_known": "the base model answers it",
    "not_learned": "trained on, and the adapter does not answer it",
    "no_supervision": "no text passed the check, so nothing was trained",
    "regressed": "the base model answered it, the adapter does not",
    "skipped": "could not be used",
}
"""Each outcome with its meaning, in the order of a summary."""

MISTAKES: Final = ("format", "leakage", "collapse", "cross_entity", "genuine")
_MINUS: Final = "\u2212"


def suite(name: str) -> str:
    return SUITES.get(name, name)


def is_share(metric: str) -> bool:
    return metric == "accuracy"


def figure(value: float | None, *, share: bool, signed: bool = False) -> str:
    """Return a share in percent or a loss in nats; a difference of shares in points of percent.

    Example:
        >>> figure(0.5, share=True), figure(0.0123, share=False, signed=True)
        ('50.0%', '+0.012')
    """
    if value is None:
        return "\u2013"
    sign = "+" if signed else ""
    return (f"{value:{sign}.1%}" if share else f"{value:{sign}.3f}").replace("-", _MINUS)


def interval(low: float | None, high: float | None, *, share: bool, signed: bool = False) -> str:
    if low is None or high is None:
        return "\u2013"
    return f"{figure(low, share=share, signed=signed)} to {figure(high, share=share, signed=signed)}"


def duration(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> duration(0.42), duration(61), duration(7322)
        ('0.4 s', '1 min 1 s', '2 h 2 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def instant(at: datetime | None) -> str:
    return "\u2013" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Return a number of bytes in words.

    Example:
        >>> size(999), size(19_500_000)
        ('999 bytes', '19.5 MB')
    """
    value, unit = float(count), "bytes"
    for bigger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, bigger
    return f"{value:.1f} {unit}" if unit != "bytes" else f"{count} bytes"


def outcomes(counts: Counts) -> list[tuple[str, int, str]]:
    """Return each outcome with its number of facts and its meaning."""
    found = counts.model_dump()
    return [(name, found[name], meaning) for name, meaning in OUTCOMES.items()]


def outcome_line(counts: Counts) -> str:
    """Say how the facts ended.

    Example:
        >>> outcome_line(Counts(facts=3, learned=2, not_learned=1))
        '3 facts: 2 learned, 1 not learned'
    """
    named = [f"{count} {name.replace('_', ' ')}" for name, count, _ in outcomes(counts) if count]
    facts = f"{counts.facts} fact{'' if counts.facts == 1 else 's'}"
    return f"{facts}: {', '.join(named)}" if named else facts


def gate_line(gate: Gate) -> str:
    """Say what a gate asked for and what it found."""
    share = is_share(gate.metric or "")
    said = f"Gate {gate.status}"
    if gate.suite is not None:
        said += f": {suite(gate.suite)}"
    if gate.difference is not None:
        change = figure(gate.difference, share=share, signed=True)
        said += f" changed by {change} from {figure(gate.base, share=share)}"
    if gate.low is not None and gate.confidence is not None:
        bounds = interval(gate.low, gate.high, share=share, signed=True)
        said += f", bounds {bounds} ({gate.confidence:.0%} each)"
    if gate.max_drop is not None:
        said += f"; at most {figure(gate.max_drop, share=share)} may be lost"
    return f"{said}. {gate.reason}" if gate.reason else f"{said}."


def score_cells(score: ScoreRead) -> tuple[str, ...]:
    """Return a score as the cells of a table: see `SCORE_HEADER`."""
    share = is_share(score.metric)
    what = suite(score.suite) + ("" if share else ", nats per token")
    return (
        what,
        str(score.n),
        figure(score.base, share=share),
        interval(score.base_low, score.base_high, share=share),
        figure(score.adapter, share=share),
        interval(score.adapter_low, score.adapter_high, share=share),
        figure(score.difference, share=share, signed=True),
        interval(score.low, score.high, share=share, signed=True),
        "" if score.gained is None else f"+{score.gained} {_MINUS}{score.lost}",
        "" if score.p_value is None else f"{score.p_value:.3g}",
    )


SCORE_HEADER: Final = (
    "measured",
    "n",
    "base",
    "interval",
    "adapter",
    "interval",
    "difference",
    "interval",
    "gained, lost",
    "p",
)
