"""The inference process as the API sees it: a stream of events for each ask."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from typing import Final

import httpx2
import structlog
from anyio.to_thread import run_sync
from pydantic import ValidationError

from app.errors import AppError
from app.inference import errors
from app.inference.port import Address, Inference
from app.inference.wire import EVENTS, PATH, Ask, Event, Failed

log = structlog.get_logger(__name__)

_SILENCE: Final = 60.0
"""Seconds without a byte after which the process is taken for dead: it sends something every few."""
_CONNECT: Final = 5.0
_TRIES: Final = 2
_LOST: Final = "the inference process broke off: ask again"


async def events(inference: Inference, ask: Ask) -> AsyncGenerator[Event]:
    """Yield what the process says until it is done. To close this generator gives the ask up.

    An ask that the process drops before it has said anything, as when it was about to end, is sent
    once more.

    Raises:
        InferenceUnavailableError: There is no process, or it broke off.
        InferenceBusyError: Too many ask already.
        AppError: Whatever the process says is wrong.
    """
    for left in reversed(range(_TRIES)):
        address = await run_sync(inference.address)
        heard = False
        try:
            async with aclosing(_said(address, ask)) as said:
                async for event in said:
                    heard = True
                    yield event
        except httpx2.TransportError as error:
            log.warning("inference.broke_off", error=type(error).__name__, heard=heard)
            if heard or not left or isinstance(error, httpx2.TimeoutException):
                raise errors.InferenceUnavailableError(
                    _LOST if heard else "the inference process does not answer: try again"
                ) from error
        else:
            return


async def _said(address: Address, ask: Ask) -> AsyncGenerator[Event]:
    # No proxy of the environment: the way leads over loopback, or through a network of one's own.
    patience = httpx2.Timeout(_SILENCE, connect=_CONNECT)
    verify = _trusted() if address.url.startswith("https:") else False
    async with (
        httpx2.AsyncClient(timeout=patience, trust_env=False, verify=verify) as client,
        client.stream(
            "POST",
            f"{address.url}{PATH}",
            content=ask.model_dump_json(),
            headers={"Authorization": f"Bearer {address.token}", "Content-Type": "application/json"},
        ) as answer,
    ):
        if answer.status_code != httpx2.codes.OK:
            raise _refusal(answer.status_code, await answer.aread())
        async for line in answer.aiter_lines():
            event = _event(line)
            if isinstance(event, Failed):
                raise errors.named(event.code, event.detail)
            yield event
            if event.type == "done":
                return
    raise httpx2.RemoteProtocolError("the answer ended in the middle")


@cache
def _trusted() -> ssl.SSLContext:
    """Return whom to trust; reading that takes a while, so it is done once."""
    return ssl.create_default_context()


def _event(line: str) -> Event:
    try:
        return EVENTS.validate_json(line)
    except ValidationError as error:
        raise httpx2.RemoteProtocolError("this is no event") from error


def _refusal(status: int, body: bytes) -> AppError:
    """Return what a refusal of the process means to a client."""
    if status == httpx2.codes.SERVICE_UNAVAILABLE:
        return errors.InferenceBusyError("too many requests wait for adapters already: try again later")
    log.error("inference.refused", status=status, body=body[:500].decode(errors="replace"))
    if status == httpx2.codes.UNAUTHORIZED:
        return errors.InferenceUnavailableError(
            "the inference process refuses the token of the API: both must share the data folder, "
            "or have the same MIXSD_INFERENCE_TOKEN"
        )
    return errors.InferenceUnavailableError("the inference process does not understand the API")
