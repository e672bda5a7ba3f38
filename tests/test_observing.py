"""The board and the alerts of `deploy/` ask for what the service exports, and docs say what to do."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

import migrations
from app.db.engine import Database, make_engine
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode, Settings
from app.storage import LocalStore

ROOT: Final = Path(__file__).parents[1]
BOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/mixsd.json").read_text())
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SCRAPES: Final = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())

EXPRESSIONS: Final = [
    *(target["expr"] for panel in BOARD["panels"] for target in panel["targets"]),
    *(rule["expr"] for rule in RULES),
]

SUFFIXES: Final = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",), "gauge": ("",)}


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a service says that has answered one request."""
    folder = tmp_path_factory.mktemp("scraped")
    engine = make_engine(f"sqlite:///{folder / 'mixsd.db'}")
    migrations.upgrade(engine)
    settings = Settings(data_dir=folder, auth=AuthMode.OFF)
    api = build_app(Database(engine), LocalStore(folder), NullDispatcher(), settings)
    with TestClient(api) as client:
        client.get("/jobs")
        return client.get("/metrics").text


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bmixsd_[a-z_]+", expression))


def exported_by(scrape: str) -> set[str]:
    return {
        family.name + suffix
        for family in text_string_to_metric_families(scrape)
        for suffix in SUFFIXES[family.type]
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_exported(scrape: str, expression: str) -> None:
    assert names_in(expression) <= exported_by(scrape)


def test_everything_that_is_exported_is_shown_or_watched(scrape: str) -> None:
    asked = set[str]().union(*(names_in(expression) for expression in EXPRESSIONS))
    families = {family.name for family in text_string_to_metric_families(scrape)}
    families = {name for name in families if not name.endswith("_created")}  # the library's own

    assert {name for name in families if not any(a.startswith(name) for a in asked)} == set()


def test_labels_that_are_asked_for_are_there(scrape: str) -> None:
    found = {
        name: {label for sample in family.samples for label in sample.labels}
        for family in text_string_to_metric_families(scrape)
        for name in (family.name + suffix for suffix in SUFFIXES[family.type])
    }

    for expression in EXPRESSIONS:
        for name, matchers in re.findall(r"(mixsd_[a-z_]+)\{([^}]*)\}", expression):
            wanted = set(re.findall(r"(\w+)=~?\"", matchers))
            assert not found[name] or wanted <= found[name], expression


def test_each_alert_says_what_to_do(scrape: str) -> None:
    handbook = (ROOT / "docs/operations.md").read_text()

    for rule in RULES:
        document, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert document == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert f"### {rule['alert']}\n" in handbook
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_panels_lie_side_by_side_and_use_the_chosen_source() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert panel["datasource"]["uid"] == "${datasource}"
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= covered


def test_the_scrape_goes_where_the_service_answers() -> None:
    (job,) = SCRAPES["scrape_configs"]

    assert (job["job_name"], job["metrics_path"]) == ("mixsd", "/metrics")
    assert SCRAPES["rule_files"] == ["alerts.yml"]
    assert 'up{job="mixsd"}' in RULES[0]["expr"]
