"""How a worker reads its queue: what is no message of ours is dropped there, with a line in the log.

Celery can refuse a task only once kombu has made a message of the bytes, and a worker whose bytes are no
message ends. A message is but a hint, so that dropping one costs little, and ending a worker much.
"""

import functools
import itertools
import re
from collections.abc import Iterable
from queue import Empty
from typing import Annotated, Any, Final, Literal

import structlog
from kombu.transport import redis
from kombu.utils.json import loads
from pydantic import AwareDatetime, Base64Str, BaseModel, Field, StringConstraints, TypeAdapter
from redis.exceptions import ResponseError

from app.queue import CANARY, LOOK

log = structlog.get_logger(__name__)

_CONTROL: Final = b"pidbox"
"""At the end of the names of queues with answers to remote control, which are no tasks."""

_SHOWN: Final = 80
"""Bytes of what is dropped that the log gets to see."""

Word = Annotated[str, StringConstraints(strict=True, max_length=200)]
Task = Annotated[str, StringConstraints(pattern=f"^({re.escape(LOOK)}|{re.escape(CANARY)})$")]


class _Delivery(BaseModel):
    exchange: Word
    routing_key: Word


class _Properties(BaseModel):
    delivery_tag: Word
    delivery_info: _Delivery
    body_encoding: Literal["base64"]


class _Headers(BaseModel):
    task: Task
    id: Word
    expires: AwareDatetime | None = None
    eta: None = None
    retries: Literal[0] = 0
    timelimit: tuple[None, None] = (None, None)
    group: None = None
    compression: None = None


class _Hint(BaseModel):
    """What `app.queue.CeleryDispatcher` sends, as far as anything is made of it on its way to a task."""

    body: Base64Str
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")
    headers: _Headers
    properties: _Properties


class _Embedded(BaseModel):
    """Nothing is to follow a hint."""

    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


_BODY: Final = TypeAdapter(tuple[list[str], dict[str, str], _Embedded])


class Channel(redis.Channel):
    """Reads from Redis only what can be understood."""

    def _create_client(self, *arguments: Any, **options: Any) -> Any:
        client = super()._create_client(*arguments, **options)  # type: ignore[misc]
        parse = client.response_callbacks.get("BRPOP")
        client.set_response_callback("BRPOP", functools.partial(_understood, parse))
        return client

    def _size(self, queue: str) -> int:
        try:
            return int(super()._size(queue))
        except ResponseError as error:
            self._clear_what_is_no_queue([queue], error)
            return 0

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except ResponseError as error:
            self._clear_what_is_no_queue(self.active_queues, error)
            raise Empty from None

    def _clear_what_is_no_queue(self, queues: Iterable[str], error: ResponseError) -> None:
        """Delete what has the name of a queue and is of another kind: nobody could be told anything.

        Raises:
            ResponseError: That was not the error.
        """
        if not _is_of_another_kind(error):
            raise error
        channel: Any = self
        with channel.conn_or_acquire() as client:
            for queue, priority in itertools.product(queues, channel.priority_steps):
                key = channel._q_for_pri(queue, priority)  # noqa: SLF001  where kombu itself looks
                try:
                    client.llen(key)
                except ResponseError as refused:
                    if not _is_of_another_kind(refused):
                        raise
                    client.delete(key)
                    log.warning("queue.dropped", queue=key)


class Transport(redis.Transport):
    """That of kombu, with channels of our own."""

    Channel = Channel


def _is_of_another_kind(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)


def _understood(parse: Any, reply: Any, **options: Any) -> Any:
    """Return the message that a client got; nothing, as if none had come, if it is not one of ours."""
    reply = parse(reply, **options) if parse else reply
    if not reply:
        return reply
    key, message = reply
    try:
        loads(message)  # as kombu will
        if not key.endswith(_CONTROL):
            check(message)
    except Exception as error:  # noqa: BLE001  whatever it is that strange bytes bring about
        log.warning(
            "message.dropped",
            queue=key.decode(errors="replace"),
            bytes=len(message),
            begins=message[:_SHOWN].decode(errors="replace"),
            error=type(error).__name__,
        )
        return None
    return reply


def check(message: bytes) -> None:
    """See that a message is one that wakes a worker up.

    Raises:
        ValidationError: It is not.
    """
    _BODY.validate_json(_Hint.model_validate_json(message).body)
