"""What goes wrong, drawn by a generator that a seed decides."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.chaos.stages import LEASE, Stage
from benchmarks.chaos.units import Held, Unit, send

FIRST: Final = 3.0
"""Seconds without faults at the beginning."""

_AT_WORK: Final = 0.9

ON_ONE_MACHINE: Final = {
    "kill_runner": 5,
    "kill_all": 2,
    "freeze_runner": 2,
    "freeze_worker": 1,
    "terminate": 1,
}
IN_A_TEAM: Final = {
    **ON_ONE_MACHINE,
    "kill_supervisor": 3,
    "kill_parent": 1,
    "kill_sweeper": 1,
    "kill_api": 1,
    "restart_redis": 1,
    "restart_postgres": 1,
}
"""Kinds of faults and how often each comes, in proportion."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A runner that was lost: when, by the clock of the machine, and what it worked on."""

    at: float
    held: Held


class Faults:
    """Does one after another, `pace` seconds apart on average."""

    def __init__(self, stage: Stage, rng: random.Random, pace: float) -> None:
        self.counts: Counter[str] = Counter()
        """How many there were of each kind."""
        self.hits: list[Hit] = []
        self.orphans: list[int] = []
        """Processes whose parent was killed: they must end by themselves."""
        self._stage = stage
        self._rng = rng
        self._pace = pace
        self._kinds = IN_A_TEAM if stage.postgres else ON_ONE_MACHINE
        self._next_at = time.monotonic() + FIRST
        self._later: list[tuple[float, Callable[[], None]]] = []

    def step(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        due = [each for each in self._later if each[0] <= now]
        self._later = [each for each in self._later if each[0] > now]
        for _, repair in due:
            repair()
        if now >= self._next_at:
            self._next_at = now + self._rng.expovariate(1 / self._pace)
            (kind,) = self._rng.choices(list(self._kinds), weights=list(self._kinds.values()))
            if getattr(self, f"_{kind}")():
                self.counts[kind] += 1

    def repair(self) -> None:
        """Undo all that can be undone."""
        for _, repair in self._later:
            repair()
        self._later = []
        for unit in self._stage.units:
            unit.thaw()

    # -- kinds: each says whether there was anything to be done

    def _kill_runner(self) -> bool:
        return self._to_a_runner(signal.SIGKILL)

    def _freeze_runner(self) -> bool:
        found = self._runners()
        if not found:
            return False
        pid = self._rng.choice(list(found))
        send(pid, signal.SIGSTOP)
        self._after(self._rng.uniform(1.1, 2.2) * LEASE, lambda: send(pid, signal.SIGCONT))
        return True

    def _kill_all(self) -> bool:
        unit = self._worker()
        if unit is None:
            return False
        self._note(unit)
        for pid in reversed(unit.tree()):
            send(pid, signal.SIGKILL)
        return True

    def _kill_parent(self) -> bool:
        unit = self._worker()
        if unit is None or unit.pid is None:
            return False
        self.orphans += unit.tree()[1:]
        send(unit.pid, signal.SIGKILL)
        return True

    def _kill_supervisor(self) -> bool:
        unit = self._worker()
        child = next((pid for pid in unit.tree()[1:]), None) if unit else None
        if unit is None or child is None:
            return False
        self._note(unit)
        send(child, signal.SIGKILL)
        return True

    def _freeze_worker(self) -> bool:
        unit = self._worker()
        frozen = sum(bool(each.frozen) for each in self._stage.workers)
        if unit is None or (frozen and frozen >= len(self._stage.workers) - 1):
            return False
        self._note(unit)
        unit.frozen = unit.tree()
        for pid in unit.frozen:
            send(pid, signal.SIGSTOP)
        self._after(self._rng.uniform(1.1, 2.2) * LEASE, unit.thaw)
        return True

    def _terminate(self) -> bool:
        unit = self._worker()
        if unit is None or unit.pid is None:
            return False
        send(unit.pid, signal.SIGTERM)
        return True

    def _kill_sweeper(self) -> bool:
        return self._kill_one_of("sweeper")

    def _kill_api(self) -> bool:
        return self._kill_one_of("api")

    def _restart_redis(self) -> bool:
        redis = self._stage.redis
        if redis is None or not redis.is_running():
            return False
        redis.stop()
        self._after(self._rng.uniform(0.5, 6.0), redis.start)
        return True

    def _restart_postgres(self) -> bool:
        postgres = self._stage.postgres
        if postgres is None or not postgres.is_running():
            return False
        postgres.stop()
        self._after(self._rng.uniform(0.0, 1.5) * LEASE, postgres.start)
        return True

    # -- inside

    def _after(self, seconds: float, repair: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, repair))

    def _worker(self) -> Unit | None:
        """Return a worker, mostly one that has a job: else all faults would hit those that just begin."""
        running = [unit for unit in self._stage.workers if unit.pid is not None and not unit.frozen]
        if self._rng.random() < _AT_WORK:
            running = [unit for unit in running if unit.runners()]
        return self._rng.choice(running) if running else None

    def _runners(self) -> dict[int, Held]:
        return {pid: held for unit in self._stage.workers for pid, held in unit.runners().items()}

    def _to_a_runner(self, number: signal.Signals) -> bool:
        found = self._runners()
        if not found:
            return False
        pid = self._rng.choice(list(found))
        self.hits.append(Hit(time.time(), found[pid]))
        send(pid, number)
        return True

    def _kill_one_of(self, name: str) -> bool:
        pids = [unit.pid for unit in self._stage.others if unit.name.startswith(name) and unit.pid]
        if not pids:
            return False
        send(self._rng.choice(pids), signal.SIGKILL)
        return True

    def _note(self, unit: Unit) -> None:
        self.hits += [Hit(time.time(), held) for held in unit.runners().values()]
