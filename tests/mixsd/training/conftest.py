from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mixsd.models.load import Base, load_base
from mixsd.models.registry import find

torch.set_num_threads(1)

NewBase = Callable[[], Base]


@pytest.fixture
def new_base(tiny_cache: Path) -> NewBase:
    """Models of their own: training leaves an adapter on the one it was given."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return lambda: load_base(found, device="cpu")


@pytest.fixture
def base(new_base: NewBase) -> Base:
    return new_base()
