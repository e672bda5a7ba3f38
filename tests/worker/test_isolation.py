"""Torch is loaded in runners only, and there late."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "peft", "numpy"}


LIGHT = (
    "worker.celery_app, worker.tasks, worker.supervisor, worker.local, worker.runner, "
    "worker.inference.keeper, worker.fsck.checking, mixsd.cli"
)


def test_importing_the_worker_loads_no_torch() -> None:
    code = f"import sys, {LIGHT}; sys.exit(bool({HEAVY} & set(sys.modules)))"

    subprocess.run([sys.executable, "-c", code], check=True)
