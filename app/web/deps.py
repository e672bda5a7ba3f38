"""What a route may ask for. Values are put on `app.state` by `app.main`, once.

All of it is asynchronous though nothing is waited for: FastAPI would send each of them to a thread else.
"""

from typing import Annotated, cast

from fastapi import Depends, Request

from app.access import Caller, Doorkeeper
from app.clock import Clock
from app.db.engine import Database
from app.ids import ProjectId
from app.queue import Dispatcher
from app.settings import Settings
from app.storage import ArtifactStore


async def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


async def _store(request: Request) -> ArtifactStore:
    return cast(ArtifactStore, request.app.state.store)


async def _dispatcher(request: Request) -> Dispatcher:
    return cast(Dispatcher, request.app.state.dispatcher)


async def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


async def _clock(request: Request) -> Clock:
    return cast(Clock, request.app.state.clock)


async def _doorkeeper(request: Request) -> Doorkeeper:
    return cast(Doorkeeper, request.app.state.doorkeeper)


async def _caller(request: Request) -> Caller:
    """Return who asks, as `app.web.access` has found out."""
    return cast(Caller, request.state.caller)


async def _project(request: Request) -> ProjectId:
    """Return the project that the request acts for: that of the key."""
    return cast(Caller, request.state.caller).project_id


DatabaseDep = Annotated[Database, Depends(_database)]
StoreDep = Annotated[ArtifactStore, Depends(_store)]
DispatcherDep = Annotated[Dispatcher, Depends(_dispatcher)]
SettingsDep = Annotated[Settings, Depends(_settings)]
ClockDep = Annotated[Clock, Depends(_clock)]
DoorkeeperDep = Annotated[Doorkeeper, Depends(_doorkeeper)]
CallerDep = Annotated[Caller, Depends(_caller)]
ProjectDep = Annotated[ProjectId, Depends(_project)]
