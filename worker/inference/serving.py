"""The inference process from its start to its end."""

import asyncio
import logging
import socket
import threading
from typing import Final

import uvicorn

from app.inference.token import shared_token
from app.settings import Settings
from app.stores import store_for
from worker.inference.decoder import Decoder
from worker.inference.models import Room
from worker.inference.server import Face

log = logging.getLogger(__name__)

_LOOK: Final = 0.2
"""Seconds between looks whether nothing was asked for long enough."""
_GRACE: Final = 5


def serve(settings: Settings, listener: socket.socket, *, ends_when_idle: bool) -> None:
    """Answer until SIGTERM or SIGINT, or until nothing was asked for as long as the settings say."""
    idle = settings.inference_idle.total_seconds()
    decoder = Decoder(
        Room(settings, store_for(settings)),
        most=settings.inference_queue,
        seconds=settings.inference_timeout.total_seconds(),
        idle=idle,
    )
    face = Face(decoder, settings.inference_token or shared_token(settings.data_dir))
    config = uvicorn.Config(face.routes(), log_config=None, lifespan="off", timeout_graceful_shutdown=_GRACE)
    server = uvicorn.Server(config)
    # A daemon: a pass that hangs in the device must not keep the process alive.
    thread = threading.Thread(target=decoder.run, name="decoder", daemon=True)
    thread.start()

    async def end_when_idle() -> None:
        while not server.should_exit:
            await asyncio.sleep(_LOOK)
            if not face.streams and decoder.idle_seconds >= idle:
                log.info("ending: nothing was asked for %.0f s", idle)
                server.should_exit = True

    async def run() -> None:
        waiting = asyncio.create_task(end_when_idle()) if ends_when_idle else None
        await server.serve(sockets=[listener])
        if waiting is not None:
            waiting.cancel()

    try:
        asyncio.run(run())
    finally:
        decoder.stop()
        thread.join(_GRACE)
