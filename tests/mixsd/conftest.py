from pathlib import Path

import pytest
import torch

from mixsd.models.load import Base, load_base
from mixsd.models.registry import find

# One thread is enough for a model of two layers, and leaves room for whatever else runs.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tiny_cache: Path) -> Base:
    """The tiny model, loaded once. Not to be trained on."""
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return load_base(found, device="cpu")
