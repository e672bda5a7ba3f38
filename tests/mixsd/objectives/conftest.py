from collections.abc import Callable
from pathlib import Path

import pytest

from mixsd.models.load import Base, load_base
from mixsd.models.registry import find

NewBase = Callable[[], Base]


@pytest.fixture(scope="session")
def new_base(tiny_cache: Path) -> NewBase:
    """Models of their own: training leaves an adapter on the one it was given."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return lambda: load_base(found, device="cpu")
