"""Waiting for the inference process on behalf of a client, who may go away meanwhile."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, TypeVar, cast

import anyio
from fastapi import Depends, Request

from app.errors import AppError
from app.inference.errors import InferenceUnavailableError
from app.inference.port import Inference
from app.inference.wire import Answer, Event, Waiting

T = TypeVar("T")


async def _inference(request: Request) -> Inference:
    return cast(Inference, request.app.state.inference)


InferenceDep = Annotated[Inference, Depends(_inference)]


async def answers_of(said: AsyncGenerator[Event]) -> list[Answer]:
    """Return the answers among all that is said."""
    async with aclosing(said):
        return [event async for event in said if isinstance(event, Answer)]


async def first_of(said: AsyncIterator[Event]) -> Event:
    """Return the first event that says something."""
    while isinstance(event := await anext(said), Waiting):
        pass
    return event


async def begun(request: Request, said: AsyncGenerator[Event]) -> Event:
    """Return the first event that says something, once there is one. If there will be none, `said` is closed.

    Raises:
        AppError: What was asked cannot be answered, or the client is gone.
    """
    try:
        return await unless_gone(request, lambda: first_of(said))
    except BaseException:
        await said.aclose()
        raise


async def unless_gone(request: Request, wait: Callable[[], Awaitable[T]]) -> T:
    """Return what is waited for. If the client goes away meanwhile that is given up."""
    found: list[T] = []
    failed: AppError | None = None
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        try:
            found.append(await wait())
        except AppError as error:  # raised here, it would come out as a group
            failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    if not found:
        raise InferenceUnavailableError("the client is gone")
    return found[0]
