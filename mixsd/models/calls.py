"""The calls to a Hugging Face hub that this library makes. Nothing here loads torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

_REFUSALS: Final = {401, 403}


@dataclass(frozen=True, slots=True)
class Hub:
    """The two calls to a hub, as `huggingface_hub` has them."""

    info: Callable[..., Any] = HfApi().model_info
    download: Callable[..., Any] = hf_hub_download


def is_refusal(error: BaseException | None) -> bool:
    """Say whether a hub answered, and refused what was asked with this token."""
    while error is not None:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in _REFUSALS:
            return True
        error = error.__cause__
    return False


def shown(url: str) -> str:
    """Return an address without what may be secret in it.

    Example:
        >>> shown("https://me:secret@hub.example:8443/here?key=1")
        'https://hub.example:8443/here'
    """
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
