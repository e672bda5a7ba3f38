import pytest
import torch
from transformers import PreTrainedModel

from tests.fixtures.tiny import make_model, make_tokenizer

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def exact_model() -> PreTrainedModel:
    """Two random layers in float64, where sums in another order change no token."""
    model = make_model(make_tokenizer()).double()
    model.eval()  # type: ignore[no-untyped-call]
    return model
