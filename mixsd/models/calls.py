"""The calls to a Hugging Face hub that this library makes. Nothing here loads torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, hf_hub_download


@dataclass(frozen=True, slots=True)
class Hub:
    """The two calls to a hub, as `huggingface_hub` has them."""

    info: Callable[..., Any] = HfApi().model_info
    download: Callable[..., Any] = hf_hub_download
