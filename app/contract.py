"""Prints the contract: `python -m app.contract > openapi.json`. A test compares that file with it."""

import json
import sys
from pathlib import Path

from app.db.engine import Database, make_engine
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore


def contract() -> str:
    """Return the OpenAPI document as text that is easy to compare. Nothing is connected to."""
    parts = Database(make_engine("sqlite://")), LocalStore(Path()), NullDispatcher(), Settings()
    return json.dumps(build_app(*parts).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(contract())
