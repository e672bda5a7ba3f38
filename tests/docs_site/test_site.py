"""The site of the documents: every page has its place, every link leads somewhere, nothing is fetched."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mkdocs.config import load_config

from app.errors import AppError
from app.webhooks.states import TYPES
from docs_site import reference
from docs_site.events import MEANINGS
from docs_site.hooks import MADE

ROOT = Path(__file__).parents[2]


def pages_of(nav: Any) -> Iterator[str]:
    """Yield the pages of a table of contents."""
    for entry in nav:
        places = entry.values() if isinstance(entry, dict) else [entry]
        for place in places:
            if isinstance(place, list):
                yield from pages_of(place)
            else:
                yield place


@pytest.fixture(scope="module")
def nav() -> list[str]:
    return list(pages_of(load_config(str(ROOT / "mkdocs.yml")).nav))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_document_has_its_place_in_the_table_of_contents(nav: list[str]) -> None:
    documents = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}

    assert documents - set(nav) == set(), "give these a place under `nav` in mkdocs.yml"
    assert set(nav) - documents - set(MADE) == set(), "mkdocs.yml names pages that there are not"
    assert len(nav) == len(set(nav))


def test_the_site_is_built_without_a_warning(site: Path, nav: list[str]) -> None:
    pages = [page.replace("README.md", "index.html").replace(".md", ".html") for page in nav]

    assert [page for page in pages if not (site / page).is_file()] == []


def test_links_to_what_is_no_page_name_it_and_those_to_pages_lead_there(site: Path) -> None:
    operations = (site / "operations.html").read_text()

    assert 'href="reference/settings.html"' in operations
    assert "<code>deploy/prometheus/alerts.yml</code>" in operations


def test_no_page_fetches_anything(site: Path) -> None:
    fetched = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\">]*")

    found = {match for page in site.rglob("*.html") for match in fetched.findall(page.read_text())}

    assert found == set()
    assert "url(http" not in "".join(path.read_text() for path in site.rglob("*.css"))


def test_the_reference_names_every_command_setting_event_and_error() -> None:
    commands, errors, events = reference.commands(), reference.errors(), reference.events()

    for path, command in reference.every_command():
        assert f"## {path}\n" in commands
        for option in (each for each in command.params if each.param_type_name == "option"):
            assert f"`{option.opts[0]}`" in commands
    assert set(MEANINGS) == TYPES
    assert all(f"| `{kind}` |" in events for kind in TYPES)
    assert {code for code, _ in re.findall(r"^\| `(\w+)` \| (\d+)", errors, re.MULTILINE)} >= {
        kind.code for kind in AppError.__subclasses__() if "code" in vars(kind)
    } | {"job_not_found", "quota_exceeded", "body_too_large"}
    assert "`MIXSD_DATABASE_URL`" in reference.settings()


def test_the_reference_of_the_api_names_every_operation_and_schema() -> None:
    page = reference.api()
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    anchors = {name.lower() for name in re.findall(r"^### ([\w-]+)$", page, re.MULTILINE)}

    assert "### POST /jobs\n" in page
    assert "### GET /jobs/{job_id}/supervision\n" in page
    assert links - anchors == set()
