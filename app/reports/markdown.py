"""A report as Markdown, for a merge request, a wiki or a terminal."""

from collections.abc import Iterator

from app.reports import figures, frontier, living, summary
from app.reports.schemas import FactProvenance, JobReport, Pick, TextProvenance
from app.reports.summary import Row
from app.reports.texts import markdown, table

_NO_VERDICTS = "There is no verdict on a fact: there is one once a job has succeeded."


def render(report: JobReport) -> str:
    """Return the document. Equal reports give equal documents."""
    return "\n\n".join(filter(None, _parts(report))) + "\n"


def _parts(report: JobReport) -> Iterator[str]:
    yield f"# Report: {markdown(summary.title(report))}"
    yield " ".join(markdown(line) for line in summary.verdict(report))
    yield _pairs("what", summary.about(report))
    yield "## Outcomes"
    yield _outcomes(report)
    yield from _living(report)
    if told := frontier.frontier_of(report):
        yield "## Variants"
        yield markdown(frontier.said(told))
        yield table(frontier.HEADER, frontier.rows(told), right=range(1, 5))
    yield from _scores(report)
    if report.mistakes:
        yield "## Wrong answers by kind"
        yield table(summary.MISTAKE_HEADER, summary.mistakes(report), right=range(2, 7))
    if training := summary.training(report):
        yield "## Training"
        yield _pairs("figure", training)
    if supervision := summary.supervision(report):
        yield "## Supervision"
        yield _pairs("figure", supervision)
    if report.phases:
        yield "## Phases"
        yield table(summary.PHASE_HEADER, summary.phases(report), right=(1,))
    yield from _ledger(report)
    yield from _provenance(report)
    if settings := summary.settings(report):
        yield "## Settings of the method"
        yield _pairs("setting", settings)
    yield f"Everything that decided the run is at `GET /jobs/{report.job_id}/manifest`."


def _pairs(what: str, rows: list[Row]) -> str:
    return table((what, ""), rows)


def _outcomes(report: JobReport) -> str:
    if not report.ledger.total:
        return _NO_VERDICTS
    rows = [
        (name.replace("_", " "), count, meaning) for name, count, meaning in figures.outcomes(report.counts)
    ]
    return table(("outcome", "facts", "meaning"), rows, right=(1,))


def _living(report: JobReport) -> Iterator[str]:
    if report.living is None:
        return
    yield "## Since the parent"
    yield table(living.HEADER, living.rows(report.living), right=range(1, 5))
    if told := living.sentences(report.living):
        yield " ".join(markdown(line) for line in told)
    if gone := living.retired(report.living):
        yield table(living.RETIRED_HEADER, gone)


def _scores(report: JobReport) -> Iterator[str]:
    if not report.scores:
        return
    for part, title in (("learned", "What was learned"), ("kept", "What was kept")):
        if scores := summary.scores_in(report, part):
            yield f"## {title}"
            yield table(figures.SCORE_HEADER, map(figures.score_cells, scores), right=range(1, 10))
    if report.confidence is not None:
        yield f"Intervals are at {report.confidence:.0%}. The difference is adapter minus base."


def _ledger(report: JobReport) -> Iterator[str]:
    ledger = report.ledger
    if not ledger.total:
        return
    yield "## Facts"
    yield summary.excerpt(len(ledger.data), ledger.total, "facts", f"`{ledger.more}`", limit="facts")
    yield table(
        ("outcome", "key", "question", "expected", "base answers", "adapter answers", "also asked"),
        [_fact(report, place) for place in range(len(ledger.data))],
    )


def _fact(report: JobReport, place: int) -> tuple[str, ...]:
    fact = report.ledger.data[place]
    first, others = summary.first_asked(fact), [asked for asked in fact.asked if asked.kind != "question"]
    right = sum(asked.adapter_correct is True for asked in others)
    outcome = str(fact.outcome).replace("_", " ") + (f": {fact.reason}" if fact.reason else "")
    return (
        outcome,
        fact.key,
        fact.question,
        fact.answer,
        summary.judged(first.base_answer, correct=first.base_correct) if first else "",
        summary.judged(first.adapter_answer, correct=first.adapter_correct) if first else "",
        f"{right} of {len(others)} right" if others else "",
    )


def _provenance(report: JobReport) -> Iterator[str]:
    found = report.provenance
    if not found.total or not found.data:
        return
    yield "## Where the texts came from"
    yield (
        "Each token stands in square brackets behind its letter: "
        + "; ".join(f"{letter} {pick}, {meaning}" for pick, (letter, meaning) in summary.PICKS.items())
        + "."
    )
    yield summary.excerpt(
        len(found.data), found.total, "facts with texts", f"`{found.more}`", limit="provenance"
    )
    for fact in found.data:
        yield f"### {markdown(fact.key)}"
        yield from _texts(fact)


def _texts(fact: FactProvenance) -> Iterator[str]:
    for text in fact.texts:
        yield f"{markdown(text.question)}: {markdown(summary.text_line(text))}"
        yield f"> {_marked(text) or markdown(text.text) or 'There is no text.'}"


def _marked(text: TextProvenance) -> str:
    """Return the text with its tokens marked; nothing if it has none that can be."""
    if not any(token.pick for token in text.tokens) or any(token.text is None for token in text.tokens):
        return ""
    return " ".join(f"\\[{_letter(token.pick)} {_piece(token.text or '')}\\]" for token in text.tokens)


def _letter(pick: Pick | None) -> str:
    return summary.PICKS[pick][0] if pick else "\u2013"


def _piece(piece: str) -> str:
    """Return a token with its blanks to be seen."""
    return markdown(piece.replace(" ", "\u00b7").replace("\n", "\u23ce")) or "\u2205"
