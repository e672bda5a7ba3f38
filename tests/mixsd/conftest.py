from pathlib import Path

import pytest

from mixsd.models.load import Base, load_base
from mixsd.models.registry import find


@pytest.fixture(scope="session")
def base(tiny_cache: Path) -> Base:
    """The tiny model, loaded once. Not to be trained on."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return load_base(found, device="cpu")
