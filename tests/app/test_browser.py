"""A browser opens the report of a job whose facts attack it: no script runs, and no request leaves."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.storage import LocalStore
from tests.app.reported import Told, a_told_job

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
RAN: Final = "it-ran"

pytestmark = [
    pytest.mark.parametrize("engine", ["sqlite"], indirect=True),
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH"),
]


def attacks(leak: str) -> list[str]:
    """Texts that would run a script or fetch something, were they markup."""
    run = f"document.documentElement.className='{RAN}';fetch('{leak}/fetch')"
    return [
        f'<script>{run}</script><img src="{leak}/img">',
        f'</style><script>{run}</script><style>@import "{leak}/css";',
        f'"><img src=x onerror="{run}"><link rel=stylesheet href="{leak}/link">',
        f'<svg onload="{run}"><image href="{leak}/svg"/></svg>',
        f'<iframe src="{leak}/frame"></iframe>',
        f'</title><meta http-equiv=refresh content="0;url={leak}/refresh">',
        f'<body background="{leak}/body"><p style="background:url({leak}/style)">x',
        f"javascript:{run}",
    ]


class Site:
    """Pages on loopback, and the paths that were asked for besides them."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[bytes, Mapping[str, str]]] = {}
        self.leaked: list[str] = []
        self.url = ""

    @contextmanager
    def open(self) -> Iterator[None]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/leak/"):
                    site.leaked.append(self.path)
                body, headers = site.pages.get(self.path, (b"", {}))
                self.send_response(200 if body else 404)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with site.open():
        yield site


def seen_by_a_browser(url: str, folder: Path) -> str:
    """Open a page, let it run for some seconds of its own time, and return what became of it."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-first-run", "--disable-extensions", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder}", "--virtual-time-budget=5000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def a_page(texts: Iterable[str]) -> bytes:
    hostile = "".join(f"<div>{text}</div>" for text in texts)
    return f"<!doctype html><html><head></head><body>{hostile}</body></html>".encode()


def has_run(page: str) -> bool:
    return re.search(rf"<html[^>]*class=\"{RAN}\"", page) is not None


def test_a_report_of_hostile_facts_runs_nothing_and_asks_for_nothing(
    client: TestClient, database: Database, store: LocalStore, site: Site, tmp_path: Path
) -> None:
    texts = attacks(f"{site.url}/leak")
    facts = [
        Told(f"{place} {text}", text, text, base=text, adapter=text, text=[f"n{text}", f"e{text}"])
        for place, text in enumerate(texts)
    ]
    job_id = a_told_job(database, store, facts, name=texts[0], base_model=texts[1]).job_id
    answer = client.get(f"/jobs/{job_id}/report", params={"format": "html", "facts": 100, "provenance": 100})
    site.pages["/report"] = (
        answer.content,
        {"Content-Security-Policy": answer.headers["content-security-policy"]},
    )
    site.pages["/saved"] = (answer.content, {})

    for path in ("/report", "/saved"):
        page = seen_by_a_browser(site.url + path, tmp_path / path.strip("/"))

        assert "<h1" in page
        assert not has_run(page)
        assert site.leaked == []


def test_even_markup_that_slipped_through_runs_nothing_under_the_policy_of_reports(
    client: TestClient, database: Database, store: LocalStore, site: Site, tmp_path: Path
) -> None:
    texts = attacks(f"{site.url}/leak")
    job_id = a_told_job(database, store, [Told("a", "b", "c")]).job_id
    policy = client.get(f"/jobs/{job_id}/report", params={"format": "html"}).headers[
        "content-security-policy"
    ]
    site.pages["/guarded"] = (a_page(texts), {"Content-Security-Policy": policy})
    site.pages["/open"] = (a_page(text for text in texts if "refresh" not in text), {})

    guarded = seen_by_a_browser(f"{site.url}/guarded", tmp_path / "guarded")
    leaked_under_policy = list(site.leaked)
    open_to_all = seen_by_a_browser(f"{site.url}/open", tmp_path / "open")

    assert (has_run(guarded), leaked_under_policy) == (False, [])
    assert has_run(open_to_all), "the attacks work where nothing stands against them"
    assert "/leak/img" in site.leaked
