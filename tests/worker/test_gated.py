"""A job with a gated model, in a real runner against a stand-in of the Hub."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import build_app
from app.queue import NullDispatcher
from app.settings import AuthMode, Settings
from app.storage import LocalStore
from tests.factories import a_fact_set, a_job
from tests.fixtures.gated import ID, OTHER, a_gated_hub, hub_at
from tests.fixtures.tiny import save_tiny
from tests.worker.rig import Rig
from worker.supervisor import Supervisor

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    changes = {
        "model_cache": tmp_path / "models",
        "allowed_models": (ID,),
        "device": "cpu",
        "threads": 1,
        "auth": AuthMode.OFF,
        "rate_limit": 0,
        "lease": timedelta(minutes=5),
        "stall": timedelta(minutes=20),
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    with a_gated_hub(save_tiny(tmp_path / "remote")) as url:
        yield url


def test_its_job_fails_at_once_and_says_where_to_accept_the_licence_as_a_check_does_before(
    rig: Rig, hub: str, settings: Settings
) -> None:
    app = build_app(rig.database, LocalStore(settings.artifact_dir), NullDispatcher(), settings)
    app.state.hub = hub_at(hub, OTHER)
    fact_set = a_fact_set(rig.database)
    job_id = a_job(rig.database, fact_set.id, base_model=ID, next_run_at=datetime.now(UTC))
    environ = {**os.environ, "HF_ENDPOINT": hub, "HF_TOKEN": OTHER, "HF_HUB_OFFLINE": "0"}
    environ |= {"HF_HUB_ETAG_TIMEOUT": "300", "HF_HUB_DOWNLOAD_TIMEOUT": "300"}

    with TestClient(app) as client:
        checked = client.post("/models/check", json={"model": ID}).json()
        assert Supervisor(rig.database, settings, environ=environ).run_one("gpu")
        read = client.get(f"/jobs/{job_id}").json()

    assert (checked["exists"], checked["gated"]) == (True, True)
    assert [problem["code"] for problem in checked["problems"]] == ["gated"]
    assert (read["status"], read["attempt"]) == ("failed", 1)
    assert {row["phase"] for row in read["progress"]} == {"preparing"}
    error = read["error"]
    assert (error["code"], error["category"], error["retryable"]) == ("license_required", "user", False)
    assert f"accept its licence at {hub}/{ID}" in error["message"]
    assert "HF_TOKEN" in error["message"]
    told = (rig.folder(job_id) / "log.txt").read_text()
    assert OTHER not in told + str(read) + str(checked)
    assert rig.events(job_id)[-1] == "job.failed"
