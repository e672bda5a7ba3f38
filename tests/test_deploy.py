"""The images and the composition, as far as they can be checked without an engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def stage(name: str) -> str:
    """Return the instructions of one stage of the Dockerfile."""
    _, _, rest = DOCKERFILE.partition(f" AS {name}\n")
    return rest.partition("\nFROM ")[0]


def test_the_dockerfile_is_clean() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert program, "hadolint is part of the extra `dev`"

    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["api", "worker"])
def test_an_image_has_a_health_check_and_runs_as_nobody_in_particular(name: str) -> None:
    lines = stage(name).splitlines()

    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert not any(line.startswith("RUN ") for line in lines), "tools belong in the build stages"


def test_only_the_worker_gets_torch() -> None:
    assert "torch" not in stage("build-api")
    assert "[ml" not in stage("build-api")
    assert "[ml" in stage("build-worker")


def test_the_image_copies_nothing_that_is_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    }

    assert ignored[1] == "*"
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_every_target_is_a_stage() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)

    assert {service["build"]["target"] for service in OURS.values()} == {"api", "worker"}
    assert {"api", "worker"} <= set(stages)


def test_every_variable_of_ours_is_a_setting() -> None:
    gpu = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
    environments = [service["environment"] for service in (*OURS.values(), *gpu["services"].values())]
    named = {name for environment in environments for name in environment if name.startswith("MIXSD_")}
    named |= set(re.findall(r"\b(MIXSD_[A-Z_]+)=", DOCKERFILE))

    assert named
    assert named <= {f"MIXSD_{field.upper()}" for field in Settings.model_fields}


def test_the_environment_makes_valid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS["api"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))

    settings = Settings(_env_file=None)

    assert settings.database.startswith("postgresql+psycopg://mixsd:mixsd@postgres:")
    assert settings.allowed_models == ()
    assert settings.log_json


def test_a_stopped_worker_has_time_to_hand_its_job_back() -> None:
    patience = int(OURS["worker"]["stop_grace_period"].removesuffix("s"))

    assert patience > Settings.model_fields["grace"].default.total_seconds()


def test_who_waits_for_health_waits_for_something_that_has_a_health_check() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert SERVICES[needed]["healthcheck"]["test"], needed
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[needed]["restart"] == "no"


def test_all_of_ours_wait_for_the_newest_schema() -> None:
    for name in OURS.keys() - {"migrate"}:
        needed = OURS[name]["depends_on"]["migrate"]["condition"]

        assert needed == "service_completed_successfully"


def test_volumes_are_declared_and_lie_where_settings_and_image_say() -> None:
    mounts = {
        place: name
        for service in OURS.values()
        for name, _, place in (volume.partition(":") for volume in service["volumes"])
    }
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    environment = OURS["worker"]["environment"]

    assert used == set(COMPOSE["volumes"])
    assert set(mounts) == {environment["MIXSD_DATA_DIR"], environment["MIXSD_MODEL_CACHE"]}
    assert all(re.search(rf"install .* {re.escape(place)}\b", stage("runtime")) for place in mounts)


def test_api_worker_and_sweeper_share_data_and_database() -> None:
    shared = [(OURS[name]["volumes"], OURS[name]["environment"]) for name in ("api", "worker", "sweeper")]

    assert shared[0] == shared[1] == shared[2]


def test_the_inference_process_is_where_the_api_looks_for_it_and_nobody_else() -> None:
    inference = OURS["inference"]
    port = inference["command"][inference["command"].index("--port") + 1]

    assert OURS["api"]["environment"]["MIXSD_INFERENCE"] == f"http://inference:{port}"
    assert inference["volumes"] == OURS["api"]["volumes"], "the token and the adapters lie there"
    assert "ports" not in inference


def test_no_password_is_written_down_but_the_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    for password in re.findall(r"mixsd:([^@\s]+)@|POSTGRES_PASSWORD: (\S+)", text):
        assert "".join(password) == "${POSTGRES_PASSWORD:-mixsd}"


def test_images_of_others_are_pinned_to_a_major_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]

    assert all(re.fullmatch(r"[a-z]+:\d+-bookworm", image) for image in images), images


@pytest.mark.parametrize("files", [["docker-compose.yml"], ["docker-compose.yml", "docker-compose.gpu.yml"]])
def test_compose_itself_takes_the_files(files: list[str]) -> None:
    compose = ["docker", "compose"]
    if (
        not shutil.which("docker")
        or subprocess.run([*compose, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("there is no `docker compose` on the PATH")
    arguments = [part for file in files for part in ("--file", file)]

    done = subprocess.run(
        [*compose, *arguments, "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
