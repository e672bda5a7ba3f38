"""Takes guards out of a copy of the tree, one at a time, and sees whether tests notice."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.mutations.catalogue import Mutation

ROOT: Final = Path(__file__).parents[2]

_TREES: Final = ("app", "mixsd", "worker", "migrations", "tests", "examples")
_FILES: Final = ("pyproject.toml", "README.md", "openapi.json", "alembic.ini")

_PASSED, _FAILED = 0, 1
"""What pytest answers. Everything else, such as a test that is not there, is no verdict."""


class GateError(Exception):
    """The gate cannot say anything: a mutation does not apply, or tests fail without it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutation. `killed_by` is the first test that failed, None if none did."""

    name: str
    killed_by: str | None
    seconds: float


def mutated(mutation: Mutation, source: str) -> str:
    """Return the source without the guard.

    Raises:
        GateError: It does not have the guard exactly once.
    """
    count = source.count(mutation.old)
    if count != 1:
        raise GateError(
            f"{mutation.name}: {mutation.path} has the text to replace {count} times, not once: "
            "bring the catalogue of mutations up to date"
        )
    return source.replace(mutation.old, mutation.new)


class Copy:
    """The sources as they lie here, without what was built, and with tests to run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(folder),  # before everything installed, in all processes that tests start
        }
        for name in _TREES:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in _FILES:
            shutil.copy(ROOT / name, folder / name)

    def test(self, tests: Iterable[str]) -> tuple[int, str]:
        """Return what pytest answers, and what it says.

        On SQLite alone, which takes least: the guards are the same code on both databases.
        """
        options = ["--quiet", "--exitfirst", "-p", "no:cacheprovider", "-k", "not postgres"]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ, check=False, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr


def judge(mutations: Sequence[Mutation]) -> Iterator[Verdict]:
    """Try one mutation after another.

    Raises:
        GateError: A mutation does not apply, or its tests do not pass without it.
    """
    with TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        killers = list(dict.fromkeys(test for each in mutations for test in each.killers))
        code, output = copy.test(killers)
        if code != _PASSED:
            raise GateError(f"the tests do not pass as they are:\n{output[-4000:]}")
        for mutation in mutations:
            yield _try(copy, mutation)


def _try(copy: Copy, mutation: Mutation) -> Verdict:
    path = copy.folder / mutation.path
    source = path.read_text()
    path.write_text(mutated(mutation, source))
    started = time.monotonic()
    try:
        code, output = copy.test(mutation.killers)
    finally:
        path.write_text(source)
    if code not in {_PASSED, _FAILED}:
        raise GateError(f"{mutation.name}: pytest ended with {code}:\n{output[-4000:]}")
    failed = next((line.split()[1] for line in output.splitlines() if line.startswith("FAILED ")), None)
    if code == _FAILED and failed is None:
        raise GateError(f"{mutation.name}: no test failed, but something else did:\n{output[-4000:]}")
    return Verdict(mutation.name, failed, time.monotonic() - started)
