"""Connections to addresses that were judged, and a time that holds for all that is done on one."""

import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore2
from httpcore2 import SOCKET_OPTION, NetworkBackend, NetworkStream

from app.webhooks.addresses import Resolver, Rules, Target


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time at which everything is over. Time-outs of single steps end there as well."""

    at: float
    clock: Callable[[], float] = time.monotonic

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutException: There are none.
        """
        seconds = self.at - self.clock()
        if seconds <= 0:
            raise httpcore2.TimeoutException("it took too long")
        return seconds


class Judged(NetworkBackend):
    """Connects to the addresses that `rules` lets `target` have, and to no other.

    The name is asked for once, and what was judged is connected to by number. TLS and `Host` still
    go by the name, since only the connection is made here.
    """

    def __init__(self, rules: Rules, target: Target, resolve: Resolver, deadline: Deadline) -> None:
        self._rules = rules
        self._target = target
        self._resolve = resolve
        self._deadline = deadline
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        """Connect to the first address that answers.

        Raises:
            WebhookUrlError: One of the addresses may not be reached: then none is.
            OSError: The name could not be looked up.
            ConnectError: None of them answers.
        """
        if (host, port) != (self._target.host, self._target.port):
            raise httpcore2.ConnectError(f"{host} was not judged")  # it cannot be; see to it all the same
        found = self._rules.addresses(self._target, self._resolve)
        for address in found[:-1]:
            try:
                return self._connect(address, port, socket_options)
            except httpcore2.ConnectError:
                continue
        return self._connect(found[-1], port, socket_options)

    def _connect(
        self, address: str, port: int, socket_options: Iterable[SOCKET_OPTION] | None
    ) -> NetworkStream:
        seconds = self._deadline.left()
        stream = self._plain.connect_tcp(address, port, timeout=seconds, socket_options=socket_options)
        return _Timed(stream, self._deadline)


class _Timed(NetworkStream):
    """A stream on which every step ends at the deadline, so that many slow ones do not add up."""

    def __init__(self, stream: NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        seconds = self._deadline.left()
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, seconds), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
