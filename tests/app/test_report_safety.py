"""What users and models wrote stays text in every form of a report."""

import base64
import hashlib
import re
from typing import Final

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.ids import JobId
from app.storage import LocalStore
from tests.app.report_pages import Page, markdown_of, page_of
from tests.app.reported import (
    Told,
    a_score,
    a_told_job,
)

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # it is about what is shown

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
ALLOWED_TAGS: Final = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "figure"),
    *("p", "h1", "h2", "h3", "div", "dl", "dt", "dd", "span", "small", "bdi", "br", "blockquote", "code"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("svg", "line", "text", "circle", "rect", "polyline"),
}


@pytest.fixture
def nasty(database: Database, store: LocalStore) -> JobId:
    facts = [
        Told(f"{place} {text}", text, text, base=text, adapter=text, text=[f"n{text}", f"e{text}"])
        for place, text in enumerate(NASTY)
    ]
    scores = [a_score(NASTY[1], 0.1, 0.2)]
    return a_told_job(database, store, facts, scores=scores, name=NASTY[0], base_model=NASTY[1]).job_id


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
