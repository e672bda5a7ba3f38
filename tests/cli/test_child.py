import subprocess
import sys
from pathlib import Path

import pytest

from mixsd.cli.child import ChildError, service, stop, up_command
from mixsd.cli.client import Client

ROOT = Path(__file__).parents[2]


def fake_up(port: int, data: Path) -> list[str]:
    return [sys.executable, "-m", "tests.cli.fake_service", str(port)]


def broken_up(port: int, data: Path) -> list[str]:
    return [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_service_runs_within_the_block_and_not_after(tmp_path: Path) -> None:
    with service(tmp_path, command=fake_up) as child:
        child.wait_until_ready()
        with Client(child.url) as client:
            assert any(client.is_ready() for _ in range(3))  # each try waits for some seconds

    assert child.process.returncode is not None
    assert "/readyz" in (tmp_path / "log.txt").read_text()


def test_a_service_is_stopped_when_the_block_fails(tmp_path: Path) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def fail() -> None:
        with service(tmp_path, command=fake_up) as child:
            processes.append(child.process)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert processes[0].returncode is not None


def test_a_service_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with service(tmp_path, command=broken_up) as child, pytest.raises(ChildError, match="the port is taken"):
        child.wait_until_ready()


def test_a_child_that_does_not_listen_is_ended_by_force() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{deaf}; time.sleep(60)"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        stop(process, patience=0.2)

        assert process.returncode == -9


def test_the_service_is_this_programs_own_up_command() -> None:
    command = up_command(1234, Path("data/demo"))

    assert command[:4] == [sys.executable, "-m", "mixsd", "up"]
    assert command[4:] == ["--host", "127.0.0.1", "--port", "1234", "--data", "data/demo"]
