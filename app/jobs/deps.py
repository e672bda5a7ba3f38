"""What routes about jobs may ask for, beside what `app.web.deps` has."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import BackgroundTasks, Depends, Request

from app.jobs.forecasts import Forecaster
from app.jobs.models import GPU_QUEUE
from app.web.deps import DispatcherDep


async def _forecaster(request: Request) -> Forecaster:
    return cast(Forecaster, request.app.state.forecaster)


async def _hint(background: BackgroundTasks, dispatcher: DispatcherDep) -> Callable[[], None]:
    """Return what tells workers that a job waits, once the answer is on its way."""
    return lambda: background.add_task(dispatcher.hint, GPU_QUEUE)


ForecasterDep = Annotated[Forecaster, Depends(_forecaster)]
HintDep = Annotated[Callable[[], None], Depends(_hint)]
