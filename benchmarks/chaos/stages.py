"""The service that is put through it: on one machine, or as a team has it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.chaos.units import Unit
from mixsd.cli.child import free_port
from tests.servers import OwnPostgres, OwnRedis, own_postgres, own_redis

WORKERS: Final = 3

LEASE: Final = 5.0

TIMES: Final = {
    "MIXSD_HEARTBEAT": "1",
    "MIXSD_LEASE": str(LEASE),
    "MIXSD_SWEEP": "0.5",
    "MIXSD_HINT": "3",
    "MIXSD_IDLE_POLL": "0.5",
    "MIXSD_GRACE": "3",
    "MIXSD_STALL": "15",
}

SETTINGS: Final = {
    **TIMES,
    "MIXSD_TESTING": "1",
    "MIXSD_PIPELINE": "tests.worker.fake_pipeline:run",
    "MIXSD_AUTH": "off",
    "MIXSD_RATE_LIMIT": "0",
    "MIXSD_INFERENCE": "off",
    "MIXSD_GPUS": "",
    "MIXSD_DEVICE": "cpu",
    "MIXSD_SUPERVISION_CACHE": "",
    "HF_HUB_OFFLINE": "1",
}


@dataclass
class Stage:
    """Everything that runs."""

    url: str
    database_url: str
    data_dir: Path
    workers: list[Unit] = field(default_factory=list)
    others: list[Unit] = field(default_factory=list)
    postgres: OwnPostgres | None = None
    redis: OwnRedis | None = None

    @property
    def units(self) -> list[Unit]:
        return [*self.workers, *self.others]

    def keep_up(self) -> None:
        for unit in self.units:
            unit.keep_up()


@contextmanager
def stage(profile: str, folder: Path) -> Iterator[Stage]:
    """Set a service up, in a folder of its own; all of it has ended afterwards."""
    with ExitStack() as stack:
        made = _team(folder, stack) if profile == "team" else _embedded(folder)
        environment = dict(made.units[0].environment)
        upgrade = [sys.executable, "-m", "mixsd", "db", "upgrade"]
        subprocess.run(upgrade, env=environment, check=True, capture_output=True)
        try:
            made.keep_up()
            yield made
        finally:
            for unit in made.units:
                unit.thaw()
            for unit in made.workers + made.others:
                unit.stop(8)


def _unit(name: str, *arguments: str, folder: Path, environment: dict[str, str]) -> Unit:
    command = [sys.executable, "-m", "mixsd", *arguments]
    return Unit(name, command, environment, folder / f"{name}.log")


def _environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIXSD_")}
    own = {"MIXSD_DATA_DIR": str(folder / "data"), "MIXSD_MODEL_CACHE": str(folder / "models")}
    return kept | SETTINGS | own | more


def _embedded(folder: Path) -> Stage:
    port = free_port()
    environment = _environment(folder, MIXSD_CPU_JOBS=str(WORKERS))
    made = Stage(f"http://127.0.0.1:{port}", f"sqlite:///{folder / 'data/mixsd.db'}", folder / "data")
    made.workers.append(_unit("up", "up", "--port", str(port), folder=folder, environment=environment))
    return made


def _team(folder: Path, stack: ExitStack) -> Stage:
    postgres, redis = stack.enter_context(own_postgres()), stack.enter_context(own_redis())
    port = free_port()
    environment = _environment(folder, MIXSD_DATABASE_URL=postgres.url, MIXSD_REDIS_URL=redis.url)
    made = Stage(f"http://127.0.0.1:{port}", postgres.url, folder / "data", postgres=postgres, redis=redis)
    for number in range(WORKERS):
        made.workers.append(_unit(f"worker-{number}", "worker", folder=folder, environment=environment))
    for number in range(2):
        made.others.append(_unit(f"sweeper-{number}", "sweeper", folder=folder, environment=environment))
    made.others.append(_unit("api", "api", "--port", str(port), folder=folder, environment=environment))
    return made
