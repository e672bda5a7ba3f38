"""Where the inference process is: what the API is given, and who starts it. Knows no HTTP."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from app.inference.errors import InferenceUnavailableError
from app.inference.token import shared_token

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the process listens, and what it wants to be shown."""

    url: str
    token: str = field(repr=False)


class Inference(Protocol):
    """Knows where adapters are asked."""

    def address(self) -> Address:
        """Return where the process listens. May start it, and so block for a moment.

        Raises:
            InferenceUnavailableError: There is none.
        """
        ...


class NoInference:
    """For an API without such a process."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def address(self) -> Address:
        raise InferenceUnavailableError(self._reason)


class InferenceAt:
    """A process that somebody else looks after."""

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def address(self) -> Address:
        try:
            return Address(self._url, self._token())
        except OSError as error:
            log.warning("inference.no_token", error=str(error))
            raise InferenceUnavailableError(
                "the token of the inference process cannot be read: share the data folder, "
                "or set MIXSD_INFERENCE_TOKEN for both"
            ) from error


def inference_for(where: str, token: str, data_dir: Path) -> Inference:
    """Return what the setting `MIXSD_INFERENCE` asks for, where nothing is started by itself."""
    if where.startswith(("http://", "https://")):
        return InferenceAt(where, lambda: token or shared_token(data_dir))
    if where == "off":
        return NoInference("adapters are not asked here: MIXSD_INFERENCE is off")
    return NoInference(
        "there is no inference process: start `mixsd inference` and set MIXSD_INFERENCE to its address"
    )
