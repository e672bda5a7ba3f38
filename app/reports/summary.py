"""Sentences and rows that both forms of a report have: what its job is, and what became of it."""

from typing import Any, Final

from app.jobs.states import JobKind, JobStatus
from app.ledger.schemas import Asked, FactResultRead, ScoreRead
from app.reports import figures
from app.reports.figures import MISTAKES, duration, figure, instant
from app.reports.schemas import JobReport, Pick, TextProvenance

Row = tuple[str, str]

PICKS: Final = {
    Pick.NAIVE: ("n", "drawn from the conditional that was asked the bare question"),
    Pick.EXPERT: ("e", "drawn from the conditional that was shown the answer"),
    Pick.GUARDED: ("g", "the expert's, since the answer guard overruled a naive token"),
    Pick.ENDED: ("s", "the end that was set behind the sentence with the answer"),
    Pick.OPENED: ("o", "words that were given to begin with"),
}
"""Each origin of a token with the letter that stands for it, and what it means."""

_NO_METHOD: Final = {
    JobKind.TRAINING: "none",
    JobKind.EVALUATION: "none: it measures an adapter",
    JobKind.EXPORT: "none: it writes an adapter for engines",
}
_STATUS: Final = {
    JobStatus.QUEUED: "The job waits for a worker. What is below is what there is so far.",
    JobStatus.RUNNING: "The job runs. What is below is what there is so far.",
    JobStatus.PAUSING: "The job is about to pause. What is below is what there is so far.",
    JobStatus.PAUSED: "The job is paused. What is below is what there is so far.",
    JobStatus.CANCELLING: "The job is being cancelled. There will be no verdict.",
    JobStatus.SUCCEEDED: "The job succeeded.",
    JobStatus.FAILED: "The job failed, so there is no verdict on its facts.",
    JobStatus.CANCELLED: "The job was cancelled, so there is no verdict on its facts.",
}


def title(report: JobReport) -> str:
    return report.name or report.job_id


def verdict(report: JobReport) -> list[str]:
    """Say what became of the job, in a few sentences."""
    said = [_STATUS[report.status]]
    if report.status is JobStatus.SUCCEEDED:
        said = [f"{figures.outcome_line(report.counts)}."]
    if report.phase is not None:
        said.append(f"Phase: {report.phase}.")
    if report.wait_reason is not None:
        said.append(f"It is held back: {report.wait_reason}.")
    if report.error is not None:
        advice = "It may be tried again." if report.error.retryable else "Trying again would not help."
        why = report.error.message.rstrip(".")
        said.append(f"{report.error.code} ({report.error.category}): {why}. {advice}")
    if report.gate is not None:
        said.append(figures.gate_line(report.gate))
    if report.adapter is not None and report.adapter.status == "quarantined":
        said.append("The adapter is quarantined: its files are held back until it is released.")
    return said


def about(report: JobReport) -> list[Row]:
    """Return what the job is, as titles with texts."""
    rows = [
        ("Job", report.job_id),
        ("Status", report.status),
        ("Base model", report.base_model.id),
        ("Revision", report.base_model.revision or "not looked up yet"),
        ("Method", _method(report) or _NO_METHOD[report.kind]),
        ("Facts", f"{report.counts.facts} in {report.fact_set_id}"),
        ("Created", instant(report.created_at)),
    ]
    if report.started_at is not None:
        rows.append(("Started", instant(report.started_at)))
    if report.finished_at is not None:
        rows.append(("Finished", instant(report.finished_at)))
    if report.attempt > 1:
        rows.append(("Attempts", str(report.attempt)))
    if report.adapter is not None:
        told = f"{report.adapter.id}, {report.adapter.status}, {figures.size(report.adapter.bytes)}"
        rows += [("Adapter", told), ("Manifest sha256", report.adapter.sha256)]
    return rows


def _methods(report: JobReport) -> list[dict[str, Any]]:
    """Return the job's method as plain data, or its methods if it has several. An evaluation has none."""
    found = report.model_dump(mode="json", include={"method"})["method"]
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _method(report: JobReport) -> str:
    return "; ".join(
        f"{method['type']}, lam {_plain(method['lam'])}" if "lam" in method else str(method["type"])
        for method in _methods(report)
    )


def settings(report: JobReport) -> list[Row]:
    """Return every setting of the method, or of each if there are several."""
    methods = _methods(report)
    return [
        (name if len(methods) == 1 else f"{number}. {method['type']}: {name}", _plain(value))
        for number, method in enumerate(methods, start=1)
        for name, value in method.items()
    ]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def supervision(report: JobReport) -> list[Row]:
    """Return what the texts of the job amount to, as far as it is known."""
    texts = report.texts
    rows = [("Texts", f"{texts.made}, {texts.trained_on} of them fit for training")] if texts.made else []
    found = report.supervision
    if found is None:
        return rows
    if found.facts is not None:
        rows.append(("Facts with a verified text", f"{found.verified} of {found.facts}"))
    for name, value, form in (
        ("Attempts", found.attempts, "d"),
        ("Tokens", found.tokens, "d"),
        ("Mean lam", found.mean_lam, ".3g"),
        ("Naive tokens", found.naive_share, ".1%"),
        ("Nats per token under the base model", found.nats_per_token, ".3f"),
        ("Nats per token, shown the answer", found.expert_nats_per_token, ".3f"),
        ("Both conditionals agree", found.agreement, ".1%"),
    ):
        if value is not None:
            rows.append((name, format(value, form)))
    return rows


_STOPPED: Final = {"learned": "every question was answered", "patience": "recall did not rise any more"}


def training(report: JobReport) -> list[Row]:
    found = report.training
    if found is None:
        return []
    rows = [
        (name, format(value, form))
        for name, value, form in (
            ("Steps", found.steps, "d"),
            ("Epochs", found.epochs, "g"),
            ("Learning rate", found.learning_rate, ".2g"),
            ("Loss of the first step, nats per token", found.first_loss, ".3f"),
            ("Loss of the last step, nats per token", found.last_loss, ".3f"),
        )
        if value is not None
    ]
    if found.stopped_early:
        rows.append(("Stopped early", _STOPPED[found.stopped_because or "learned"]))
    return rows


MISTAKE_HEADER: Final = ("suite", "model", *(kind.replace("_", " ") for kind in MISTAKES))


def mistakes(report: JobReport) -> list[tuple[str, ...]]:
    rows = []
    for found in report.mistakes:
        for who, counts in (("base", found.base), ("adapter", found.adapter)):
            kinds = counts.model_dump()
            told = ("\u2013" if kinds[kind] is None else str(kinds[kind]) for kind in MISTAKES)
            rows.append((figures.suite(found.suite), who, *told))
    return rows


PHASE_HEADER: Final = ("phase", "time", "done")


def phases(report: JobReport) -> list[tuple[str, str, str]]:
    rows = [
        (str(row.phase), duration(row.seconds), f"{row.done} of {row.total} {row.unit}")
        for row in report.phases
    ]
    total = sum(row.seconds for row in report.phases)
    return [*rows, ("all", duration(total), "")] if rows else []


def first_asked(fact: FactResultRead) -> Asked | None:
    """Return the training question with what was answered to it."""
    return next((asked for asked in fact.asked if asked.kind == "question"), None)


def judged(answer: str | None, *, correct: bool | None) -> str:
    """Return an answer with its verdict in front, as a sign and not a colour."""
    if answer is None:
        return "\u2013"
    sign = {True: "\u2713", False: "\u2717", None: "?"}[correct]
    return f"{sign} {answer}"


def text_line(text: TextProvenance) -> str:
    """Say how a text came about, and what it costs."""
    said = [text.method, _attempts(text.attempts)]
    if any(token.pick for token in text.tokens):
        said += [f"lam {text.lam:g}", f"{text.naive_share:.0%} of {len(text.tokens)} tokens naive"]
    if text.nats_per_token is not None:
        said.append(f"{text.nats_per_token:.3f} nats per token under the base model")
    if text.expert_nats_per_token is not None:
        said.append(f"{figure(text.expert_nats_per_token, share=False)} shown the answer")
    if not text.trained_on:
        said.append(f"not trained on ({text.reason or text.finish_reason})")
    return ", ".join(filter(None, said))


def _attempts(count: int) -> str:
    return f"{count} attempt{'' if count == 1 else 's'}" if count else ""


def excerpt(shown: int, total: int, what: str, more: str, *, limit: str) -> str:
    """Say what part of a list is shown, and where the rest is; nothing if all of it is."""
    if shown >= total:
        return ""
    return f"{shown} of {total} {what} are shown: all are at GET {more}, and more here with ?{limit}=."


def scores_in(report: JobReport, part: str) -> list[ScoreRead]:
    """Return the scores of what was to be `learned`, or of what was to be `kept`, the main ones first."""
    order = list(figures.SUITES)
    wanted = [score for score in report.scores if (score.suite in figures.KEPT) == (part == "kept")]
    return sorted(wanted, key=lambda score: order.index(score.suite) if score.suite in order else len(order))
