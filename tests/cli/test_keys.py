"""`mixsd keys`, and where the API refuses to listen without one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

import migrations
from app.db.engine import Database, make_engine
from app.projects.keys import prefix_of, sha256_of
from app.settings import Settings
from mixsd.cli import cli
from mixsd.cli.child import free_port
from mixsd.cli.client import Client, ServiceError
from tests.e2e.service import serving


def mixsd(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    engine = make_engine(Settings(data_dir=tmp_path).database)
    migrations.upgrade(engine)
    engine.dispose()
    return tmp_path


def listed(data: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in mixsd("keys", "list", "--data", str(data)).stdout.splitlines()]


def test_a_key_is_printed_once_and_can_be_revoked(data: Path) -> None:
    made = mixsd("keys", "create", "--data", str(data), "--project", "search", "--scopes", "admin, read")

    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert prefix_of(secret)
    assert secret not in made.stderr
    (key,) = listed(data)
    assert (key["project"], key["scopes"], key["revoked_at"]) == ("search", ["read", "admin"], None)
    assert key["prefix"] == prefix_of(secret)
    assert not {secret, sha256_of(secret)} & set(map(str, key.values()))

    assert mixsd("keys", "revoke", str(key["prefix"]), "--data", str(data)).exit_code == 0

    assert listed(data)[0]["revoked_at"] is not None


def test_a_project_is_made_once(data: Path) -> None:
    for _ in range(2):
        mixsd("keys", "create", "--data", str(data), "--project", "search")

    assert len({key["project_id"] for key in listed(data)}) == 1


def test_a_key_may_expire(data: Path) -> None:
    mixsd("keys", "create", "--data", str(data), "--days", "1.5")

    assert listed(data)[0]["expires_at"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "--scopes", "read,root"], "root: give some of read, write, admin"),
        (["create", "--scopes", ","], "nothing: give some of"),
        (["create", "--project", ""], "1 to 100 printable characters"),
        (["create", "--name", "x" * 101], "1 to 100 printable characters"),
        (["create", "--days", "0"], "--days"),
        (["revoke", "key_0"], "there is no API key key_0 [api_key_not_found]"),
    ],
)
def test_mistakes_are_explained(data: Path, arguments: list[str], said: str) -> None:
    result = mixsd("keys", *arguments, "--data", str(data))

    assert result.exit_code in {1, 2}
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert listed(data) == []


def test_a_database_without_tables_is_explained(tmp_path: Path) -> None:
    result = mixsd("keys", "create", "--data", str(tmp_path))

    assert result.exit_code == 1
    assert "mixsd db upgrade" in result.stderr
    assert result.stdout == ""


def run(command: str, data: Path, host: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an API that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "mixsd", command, "--host", host, "--port", str(free_port())],
        env={"PATH": "/usr/bin:/bin", "MIXSD_DATA_DIR": str(data), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("command", ["up", "api"])
def test_without_a_key_the_api_does_not_listen_for_others(command: str, data: Path) -> None:
    done = run(command, data, "0.0.0.0")  # noqa: S104  which is what it is about

    assert done.returncode == 1
    assert "there is no API key yet, so the API does not listen on 0.0.0.0" in done.stderr
    assert "mixsd keys create" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "answer"), [({"MIXSD_AUTH": "required"}, 401), ({"MIXSD_AUTH": "off"}, 200), ({}, 200)]
)
def test_with_a_key_or_an_explicit_setting_it_does(
    data: Path, tmp_path: Path, environment: dict[str, str], answer: int
) -> None:
    headers = {}
    if not environment:
        secret = mixsd("keys", "create", "--data", str(data)).stdout.strip()
        headers = {"Authorization": f"Bearer {secret}"}
    port = free_port()
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mixsd", "api", "--host", "0.0.0.0", "--port", str(port)],  # noqa: S104
            env={"PATH": "/usr/bin:/bin", "MIXSD_DATA_DIR": str(data), **environment},
            stdout=log,
            stderr=log,
        )
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=120, transport=httpx2.HTTPTransport(retries=9)
        ) as http:
            assert http.get("/healthz").status_code == 200
            assert http.get("/jobs", headers=headers).status_code == answer
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    said = (tmp_path / "log.txt").read_text()
    assert ("whoever reaches 0.0.0.0 may do everything" in said) == (environment.get("MIXSD_AUTH") == "off")


def test_the_client_shows_its_key(tmp_path: Path) -> None:
    environment = {"MIXSD_DATA_DIR": str(tmp_path), "MIXSD_AUTH": "required"}
    with serving("up", environment, tmp_path) as (service, _):
        url = str(service.call("GET", "/healthz").url).removesuffix("/healthz")
        secret = mixsd("keys", "create", "--data", str(tmp_path)).stdout.strip()

        with Client(url) as stranger, pytest.raises(ServiceError, match=r"401 \[unauthenticated\]"):
            stranger.create_fact_set(b'{"question": "Q?", "answer": "A"}\n', name="f")
        with Client(url, key=secret) as client:
            assert client.create_fact_set(b'{"question": "Q?", "answer": "A"}\n', name="f")["n_facts"] == 1
            assert secret not in repr(client.__dict__)
    assert secret not in (tmp_path / "service.log").read_text()


def test_a_key_in_the_environment_is_taken(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("Authorization", ""))
        return httpx2.Response(403, json={"code": "missing_scope", "detail": "no"})

    client = httpx2.Client
    monkeypatch.setattr(
        httpx2, "Client", lambda **options: client(**{**options, "transport": httpx2.MockTransport(answer)})
    )
    monkeypatch.setenv("MIXSD_API_KEY", "mixsd_secret")

    result = mixsd("demo", "--url", "http://service", "--data", str(data / "demo"))

    assert result.exit_code == 1
    assert "missing_scope" in result.output
    assert seen == ["Bearer mixsd_secret"]


def test_the_database_is_asked_where_uvicorn_is_not_yet_there(tmp_path: Path) -> None:
    """A database that is away is no reason to end: until it is back nobody is let in anyway."""
    from mixsd.cli.service import _refuse_strangers  # noqa: PLC0415

    engine = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")

    _refuse_strangers(Database(engine), Settings(data_dir=tmp_path), "0.0.0.0")  # noqa: S104
