"""A runner's environment and its log."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import RedisDsn

from app.settings import Settings
from worker.child import environment_for


def test_a_runner_gets_the_same_settings_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        allowed_models=("a/b", "c/d"),
        stall=timedelta(seconds=7.5),
        redis_url=RedisDsn("redis://:secret@redis/0"),
        inference_token="secret",  # noqa: S106
        log_json=True,
    )

    environment = environment_for(settings, {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "HF_HOME": "/hf"})

    assert "secret" not in str(environment)
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["HF_HOME"] == "/hf"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings.model_copy(update={"redis_url": None, "inference_token": ""})


def test_threads_of_a_runner_wait_shortly_unless_told_otherwise(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    assert environment_for(settings, {})["GOMP_SPINCOUNT"] == "3000"
    assert environment_for(settings, {"GOMP_SPINCOUNT": "9"})["GOMP_SPINCOUNT"] == "9"
    told = environment_for(settings, {"OMP_WAIT_POLICY": "active"})
    assert told["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in told
