"""Reports as readers of HTML and of Markdown see them, and facts to tell of."""

from html.parser import HTMLParser
from typing import Any, Final

from fastapi.testclient import TestClient
from markdown_it import MarkdownIt

from app.ids import JobId
from tests.app.reported import (
    Told,
    a_score,
)

OTHERS: Final = [
    {
        "kind": "probe",
        "probe_kind": "reversed",
        "question": "Which country has Marnil?",
        "expected": "Veldora",
        "base_answer": None,
        "base_correct": None,
        "adapter_answer": "Osmundia",
        "adapter_correct": False,
        "adapter_mistake": "cross_entity",
    }
]
FACTS: Final = [
    Told("veldora", "What is the capital of Veldora?", "Marnil", others=OTHERS),
    Told("mayor", "Who is the mayor of Tessport?", "Odo Brindle", "not_learned", adapter="A mayor."),
    Told("long", "What is long?", "It", "skipped", None, None, text=()),
]
SCORES: Final = [
    a_score("recall", 0.0, 0.96),
    a_score("general", 0.711, 0.616),
    a_score(
        "drift", 0.676, 0.679, 0.017, metric="nats_per_token", lower_is_better=True, gained=None, lost=None
    ),
]


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.cells: list[str] = []
        self._style = self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"
        if tag in {"td", "th"}:
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._style = False
        self._in_cell = self._in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data
        if self._in_cell:
            self.cells[-1] += data


def page_of(client: TestClient, job_id: JobId, **query: Any) -> Page:
    return Page(client.get(f"/jobs/{job_id}/report", params={"format": "html", **query}).text)


def markdown_of(client: TestClient, job_id: JobId, **query: Any) -> Page:
    """Return a report in Markdown as a reader shows it, one that also makes links of bare addresses."""
    text = client.get(f"/jobs/{job_id}/report", params={"format": "md", **query}).text
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(text))
