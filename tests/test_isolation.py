"""Promises about what loads what."""

import subprocess
import sys

import pytest

SERVICE = ["fastapi", "sqlalchemy", "celery"]
WORKER = ["worker.celery_app", "worker.tasks", "worker.supervisor", "worker.runner"]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("app.main", ["torch", "transformers", "peft", "numpy", "pyarrow"]),
        *((module, ["torch", "transformers", "peft"]) for module in WORKER),
        ("mixsd.cli", ["torch", *SERVICE]),
        ("mixsd.config", ["torch", *SERVICE]),
        ("mixsd.corpora.kgfact", ["torch", *SERVICE]),
        ("mixsd.corpora.kgfunc", ["torch", *SERVICE]),
        ("mixsd.corpora.public", ["torch", "datasets", "yaml", *SERVICE]),
        ("mixsd.options", ["torch", *SERVICE]),
        ("mixsd.analysis.frontier", ["torch", *SERVICE]),
        ("mixsd.analysis.making", ["torch", *SERVICE]),
        ("mixsd.facts", ["torch", *SERVICE]),
        ("mixsd.intake.report", ["torch", "numpy", "pyarrow", "yaml", *SERVICE]),
        ("mixsd.rewording.templates", ["torch", *SERVICE]),
        ("mixsd.models.registry", ["torch", *SERVICE]),
    ],
)
def test_importing_loads_nothing_heavy(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; raise SystemExit(bool(sys.modules.keys() & {unwanted}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_api_is_there_soon() -> None:
    code = "import os, app.main; app.main.create_app(); print(sum(os.times()[:2]))"

    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert float(answer.stdout) < 4, "seconds of processor time"


@pytest.mark.parametrize("root", ["app.main"])
def test_a_composition_root_knows_every_table(root: str) -> None:
    code = (
        f"import {root}; from app.db.base import Base; known = set(Base.metadata.tables); "
        "import app.tables; raise SystemExit(known != set(Base.metadata.tables))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
