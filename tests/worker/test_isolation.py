"""Torch is loaded in runners only, and there late."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "numpy"}


@pytest.mark.parametrize(
    "module",
    ["worker.celery_app", "worker.tasks", "worker.supervisor", "worker.local", "worker.runner", "mixsd.cli"],
)
def test_importing_it_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({HEAVY} & set(sys.modules)))"

    subprocess.run([sys.executable, "-c", code], check=True)
