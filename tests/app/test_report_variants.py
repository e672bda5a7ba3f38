"""The report of a job with several variants."""

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.ledger.frontier import Frontier
from app.projects.models import DEFAULT_PROJECT
from app.reports import html, markdown, service
from app.reports.schemas import JobReport
from app.storage import LocalStore
from tests.app.published import a_published_sweep
from tests.app.report_pages import FACTS, SCORES, Page
from tests.app.reported import (
    a_told_job,
)

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # it is about what is shown


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
