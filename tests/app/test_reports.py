"""The report of a job, in all its forms, over HTTP."""

import base64
import hashlib
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient
from markdown_it import MarkdownIt

from app.db.engine import Database
from app.ids import JobId
from app.jobs.states import JobStatus, Phase
from app.ledger.frontier import Frontier
from app.projects.models import DEFAULT_PROJECT
from app.reports import html, markdown, service
from app.reports.schemas import JobReport
from app.storage import LocalStore
from tests.app.published import a_published_sweep
from tests.app.reported import (
    SETTINGS,
    Told,
    a_gate,
    a_score,
    a_told_job,
    add_phases,
    write_texts,
)
from tests.factories import NOW, a_fact_set, a_job

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # it is about what is shown

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
NASTY: Final = (
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "a | b \\| c",
    "[click](http://evil.example) ![x](//evil.example/a.png)",
    "http://evil.example www.evil.example <https://evil.example>",
    "# title\n- item\n1. one\n> quote\n---",
    "*bold* _em_ `code` ~~no~~ $x$ &lt; &#60;",
    "```\nfence\n```",
    "safe\u202egpj.exe\u2066\u200b\x1b[31m\ufeff",
)


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


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("*/*", {}, "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", {}, "text/html; charset=utf-8"),
        ("text/markdown", {}, "text/markdown; charset=utf-8"),
        ("text/html", {"format": "json"}, "application/json"),
        ("application/json", {"format": "html"}, "text/html; charset=utf-8"),
        ("image/png", {}, "application/json"),
        ("text/html;q=0, */*", {}, "application/json"),
    ],
)
def test_a_report_comes_as_it_is_asked_for(
    client: TestClient, database: Database, accept: str, query: dict[str, str], expected: str
) -> None:
    answer = client.get(f"/jobs/{a_job(database)}/report", params=query, headers={"Accept": accept})

    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("query", [{"format": "pdf"}, {"facts": 1001}, {"facts": -1}, {"provenance": 101}])
def test_a_report_is_refused_in_another_form_or_without_bounds(
    client: TestClient, database: Database, query: dict[str, Any]
) -> None:
    answer = client.get(f"/jobs/{a_job(database)}/report", params=query)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_the_page_tells_all_of_a_job(client: TestClient, database: Database, store: LocalStore) -> None:
    published = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate(), name="Veldora")

    page = page_of(client, published.job_id)

    for said in (
        "Veldora",
        "3 facts: 1 learned, 1 not learned, 1 skipped.",
        "Gate failed: general knowledge changed by \u221220.0% from 70.0%",
        "The adapter is quarantined",
        published.job_id,
        published.adapter_id,
        "mixsd, lam 0.3",
        "What is the capital of Veldora?",
        "\u2717 No idea",
        "\u2713 It is so.",
        "prompt_too_long",
        "0 of 1 other questions right",
        "(cross entity)",
        "+96.0%",
        "drift on the model's own text, nats per token",
        "every question was answered",
        "3 min 0 s",
        "25% of 4 tokens naive",
        "1.234 nats per token under the base model",
    ):
        assert said in page.text
    ledger = [cell.strip() for cell in page.cells]
    assert {"learned", "not learned"} <= set(ledger)


def test_the_same_is_told_in_markdown(client: TestClient, database: Database, store: LocalStore) -> None:
    published = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate("inconclusive"))

    page = markdown_of(client, published.job_id)

    for said in (
        published.job_id,
        "3 facts: 1 learned, 1 not learned, 1 skipped.",
        "Gate inconclusive",
        "0 of 1 right",
        "\u2717 A mayor.",
        "[n The] [e \u00b7answer]",
    ):
        assert said in page.text


def test_every_score_has_its_interval_in_a_picture(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    published = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate())

    page = page_of(client, published.job_id)

    pictures = [told["aria-label"] for tag, told in page.tags if tag == "svg"]
    assert pictures.count("Differences of adapter and base model, with intervals") == 3  # units apart
    assert sum(tag == "circle" for tag, _ in page.tags) >= len(SCORES)
    assert [told.get("class") for tag, told in page.tags if tag == "line"].count("gate") == 1


def test_where_a_token_came_from_is_told_by_more_than_colour(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    page = page_of(client, a_told_job(database, store, FACTS).job_id)

    kinds = [told.get("class", "") for tag, told in page.tags if tag == "span"]
    assert kinds.count("token naive") == 1 + 2  # of the legend, and of two texts
    assert kinds.count("token expert") == 1 + 4
    assert "Then" in page.text, "under each token stands its letter"
    assert "<|im_end|>s" in page.text


# -- safety


@pytest.fixture
def nasty(database: Database, store: LocalStore) -> JobId:
    facts = [
        Told(f"{place} {text}", text, text, base=text, adapter=text, text=[f"n{text}", f"e{text}"])
        for place, text in enumerate(NASTY)
    ]
    scores = [a_score(NASTY[1], 0.1, 0.2)]
    return a_told_job(database, store, facts, scores=scores, name=NASTY[0], base_model=NASTY[1]).job_id


ALLOWED_TAGS: Final = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "figure"),
    *("p", "h1", "h2", "h3", "div", "dl", "dt", "dd", "span", "small", "bdi", "br", "blockquote", "code"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("svg", "line", "text", "circle", "rect", "polyline"),
}


def test_nothing_that_a_user_or_a_model_wrote_becomes_markup(client: TestClient, nasty: JobId) -> None:
    page = page_of(client, nasty, facts=100, provenance=100)

    assert {tag for tag, _ in page.tags} <= ALLOWED_TAGS
    names = {name for tag, told in page.tags for name in told}
    assert not {name for name in names if name.startswith("on") or name in {"href", "src", "style"}}
    for text in NASTY[:-1]:
        assert re.sub(r"\s+", " ", text) in re.sub(r"\s+", " ", page.text)


def test_the_page_loads_nothing_and_runs_nothing(client: TestClient, nasty: JobId) -> None:
    answer = client.get(f"/jobs/{nasty}/report", params={"format": "html"})

    policy = answer.headers["Content-Security-Policy"].split("; ")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert {"default-src 'none'", "sandbox", "frame-ancestors 'none'", "form-action 'none'"} < set(policy)
    assert f"style-src 'sha256-{digest}'" in policy
    (saved,) = [
        told["content"]
        for tag, told in Page(answer.text).tags
        if tag == "meta" and told.get("http-equiv") == "Content-Security-Policy"
    ]
    assert saved is not None
    assert set(saved.split("; ")) < set(policy), "also when it is opened from a disk"
    assert "url(" not in style
    assert "@import" not in style
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("form", ["html", "md"])
def test_a_report_that_is_saved_has_a_name_of_ours(client: TestClient, nasty: JobId, form: str) -> None:
    headers = client.get(f"/jobs/{nasty}/report", params={"format": form}).headers

    assert headers["Content-Disposition"] == f'inline; filename="{nasty}-report.{form}"'


def test_nothing_in_markdown_becomes_more_than_text(client: TestClient, nasty: JobId) -> None:
    page = markdown_of(client, nasty, facts=100, provenance=100)

    ours = {*("h1", "h2", "h3", "p", "blockquote", "code"), *("table", "thead", "tbody", "tr", "th", "td")}
    assert {tag for tag, _ in page.tags} <= ours
    ledger = page.cells[page.cells.index("also asked") + 1 :]
    for text in NASTY[:-1]:
        assert ledger.count(" ⏎ ".join(text.split("\n"))) == 2, "question and answer"
    assert "http\\://" in client.get(f"/jobs/{nasty}/report", params={"format": "md"}).text


@pytest.mark.parametrize("form", ["html", "md"])
def test_what_cannot_be_seen_is_spelt_out(client: TestClient, nasty: JobId, form: str) -> None:
    text = client.get(f"/jobs/{nasty}/report", params={"format": form, "provenance": 100}).text

    assert not set("\u202e\u2066\u200b\x1b\ufeff") & set(text)
    for spelt in ("202E", "2066", "200B", "001B", "FEFF"):
        assert f"U\\+{spelt}" in text or f"U+{spelt}" in text


# -- bounds


def test_of_many_facts_some_are_listed_and_the_rest_is_pointed_to(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    facts = [Told(f"f{n}", f"What is number {n}?", str(n)) for n in range(205)]
    job_id = a_told_job(database, store, facts).job_id

    page, short = page_of(client, job_id), page_of(client, job_id, facts=2, provenance=0)

    told = f"200 of 205 facts are shown: all are at GET /jobs/{job_id}/facts"
    assert told in page.text
    assert f"10 of 205 facts with texts are shown: all are at GET /jobs/{job_id}/provenance" in page.text
    assert "number 199?" in page.text
    assert "number 200?" not in page.text
    assert "2 of 205 facts are shown" in short.text
    assert "Where the texts came from" not in short.text


def test_in_json_verdicts_and_texts_come_if_they_are_asked_for(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    url = f"/jobs/{a_told_job(database, store, FACTS).job_id}/report"

    plain, full = client.get(url).json(), client.get(url, params={"facts": 2, "provenance": 5}).json()

    assert (plain["ledger"]["total"], plain["ledger"]["data"], plain["provenance"]["data"]) == (3, [], [])
    assert [fact["key"] for fact in full["ledger"]["data"]] == ["veldora", "mayor"]
    assert [fact["key"] for fact in full["provenance"]["data"]] == ["veldora", "mayor", "long"]
    assert plain["texts"] == {"made": 3, "trained_on": 2}
    assert client.get(plain["ledger"]["more"]).json()["data"] == [
        *full["ledger"]["data"],
        client.get(plain["ledger"]["more"]).json()["data"][-1],
    ]


def test_the_same_job_gives_the_same_report(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    job_id = a_told_job(database, store, FACTS, scores=SCORES, gate=a_gate()).job_id

    for form in ("html", "md", "json"):
        first, second = (client.get(f"/jobs/{job_id}/report", params={"format": form}) for _ in range(2))
        assert first.content == second.content


# -- every status


LEASE: Final = {"lease_owner": "w", "lease_expires_at": NOW, "heartbeat_at": NOW}
FAILED: Final = {
    "error_code": "no_supervision",
    "error_category": "user",
    "error_message": "no fact got a text",
    "error_retryable": False,
}


@pytest.mark.parametrize(
    ("status", "changes", "said"),
    [
        (JobStatus.QUEUED, {"wait_reason": "out of memory"}, "It is held back: out of memory."),
        (JobStatus.RUNNING, {**LEASE, "phase": Phase.BASELINE}, "Phase: baseline."),
        (JobStatus.PAUSING, LEASE, "about to pause"),
        (JobStatus.PAUSED, {}, "paused"),
        (JobStatus.CANCELLING, LEASE, "being cancelled"),
        (JobStatus.FAILED, {**FAILED, "finished_at": NOW}, "no_supervision (user): no fact got a text."),
        (JobStatus.CANCELLED, {"finished_at": NOW}, "was cancelled"),
    ],
)
def test_a_job_without_a_verdict_has_a_report_of_what_there_is(
    client: TestClient, database: Database, status: JobStatus, changes: dict[str, Any], said: str
) -> None:
    job_id = a_job(database, a_fact_set(database).id, **SETTINGS | changes, status=status)
    add_phases(database, job_id, [Phase.PREPARING, Phase.BASELINE], last_done=4)
    write_texts(database, job_id, FACTS[:1])

    pages = [page_of(client, job_id), markdown_of(client, job_id)]

    for page in pages:
        assert said in page.text
        assert "There is no verdict on a fact" in page.text
        assert "4 of 10 steps" in page.text
        assert "1, 1 of them fit for training" in page.text
        assert "What is the capital of Veldora?" in page.text, "its text is there"


def test_a_job_with_nothing_yet_has_a_report(client: TestClient, database: Database) -> None:
    job_id = a_job(database)

    for page in (page_of(client, job_id), markdown_of(client, job_id)):
        assert "The job waits for a worker." in page.text
        assert "not looked up yet" in page.text


@pytest.mark.parametrize(
    "method",
    [
        {"type": "sft"},
        {"type": "opsd"},
        {"type": "memit", "layers": [3, 4]},
        {"type": "replay"},
    ],
    ids=lambda method: method["type"],
)
def test_every_method_is_told_with_its_settings(
    client: TestClient, database: Database, method: dict[str, Any]
) -> None:
    job_id = a_job(database, method=method, method_type=method["type"], finished_at=None)

    page = page_of(client, job_id)

    assert f"Method{method['type']}" in page.text
    assert "prompt_stylenatural" in page.text


def test_reports_tell_how_long_it_took(client: TestClient, database: Database, store: LocalStore) -> None:
    report = client.get(f"/jobs/{a_told_job(database, store, FACTS).job_id}/report").json()

    assert report["finished_at"] == (NOW + timedelta(minutes=4)).isoformat().replace("+00:00", "Z")
    assert sum(phase["seconds"] for phase in report["phases"]) == 180


# -- several variants


@pytest.fixture
def swept(database: Database, store: LocalStore) -> JobReport:
    """A report with what the ledger says of three variants."""
    job_id = a_told_job(database, store, FACTS, scores=SCORES).job_id
    report = service.report(database, project_id=DEFAULT_PROJECT, job_id=job_id, facts=1, texts=0)
    measured = {"suite": "paraphrase", "metric": "accuracy", "lower_is_better": False, "base": 0.02}
    spots = [
        {
            "variant": place,
            "label": f"lam {lam} <b>",
            "memorised": memorised,
            "memorised_low": memorised - 0.1,
            "memorised_high": memorised + 0.1,
            "kept": kept,
            "kept_low": None,
            "kept_high": None,
            "loss": 0.7 - kept,
            "within": place == 1,
            "on_frontier": place != 2,
            "gate": None,
        }
        for place, (lam, memorised, kept) in enumerate([(0.1, 0.9, 0.5), (0.3, 0.7, 0.7), (0.5, 0.2, 0.6)])
    ]
    frontier = Frontier.model_validate(
        {
            "memorised": measured,
            "kept": measured | {"suite": "general"},
            "max_drop": 0.05,
            "knee": 1,
            "recommended": 1,
            "rule": "margin",
            "why": "it keeps enough | and learned most",
            "points": spots,
        }
    )
    return report.model_copy(update={"frontier": frontier})


def test_variants_stand_beside_each_other_with_the_one_to_take(swept: JobReport) -> None:
    page, text = Page(html.render(swept)), markdown.render(swept)

    assert "Recommended: lam 0.3 <b>. Why: it keeps enough | and learned most." in page.text
    drawn = [told for tag, told in page.tags if tag == "polyline" and told.get("class") == "joined"]
    assert len((drawn[0]["points"] or "").split()) == 2, "two of them are on the frontier"
    assert [told.get("class") for tag, told in page.tags if tag == "circle"].count("ring") == 1
    assert "## Variants" in text
    assert "| lam 0.3 &lt;b&gt; | 70.0% | 60.0% to 80.0% | 70.0% | \u2013 | yes | yes |" in text


def test_variants_that_cannot_be_compared_are_listed_without_a_picture(swept: JobReport) -> None:
    assert swept.frontier is not None
    swept.frontier.kept = None

    page = Page(html.render(swept))

    assert "Recommended: lam 0.3" in page.text
    assert not [told for tag, told in page.tags if tag == "polyline" and told.get("class") == "joined"]


def test_provenance_is_that_of_one_variant(client: TestClient, database: Database, store: LocalStore) -> None:
    job_id = a_published_sweep(database, store).job_id

    def places(**query: int) -> list[int]:
        return [row["ord"] for row in client.get(f"/jobs/{job_id}/provenance", params=query).json()["data"]]

    assert [places(variant=number) for number in range(4)] == [[0], [1], [2], [2]], "the last share theirs"
    assert places() == [1], "of the recommended one"
    assert client.get(f"/jobs/{job_id}/provenance", params={"variant": 5}).status_code == 404
