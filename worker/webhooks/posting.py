"""One try of a message: signed, sent, and the answer told in short."""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final

import httpcore2
from standardwebhooks import Webhook as Signer

from app.clock import Clock, utc_now
from app.webhooks.addresses import Resolver, Rules, Target, WebhookUrlError, system_resolver
from app.webhooks.sending import Outcome, Parcel
from worker.webhooks.connections import Deadline, Judged

KEPT: Final = 1024
"""Bytes of an answer's body that are read. The rest is left where it is."""


class Poster:
    """Sends messages, from any number of threads. Follows no redirect and keeps no connection."""

    def __init__(
        self,
        rules: Rules,
        *,
        timeout: timedelta,
        resolve: Resolver = system_resolver,
        clock: Clock = utc_now,
        ticks: Callable[[], float] = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._timeout = timeout.total_seconds()
        self._resolve = resolve
        self._clock = clock
        self._ticks = ticks
        self._tls = tls or httpcore2.default_ssl_context()
        self._agent = f"MixSD/{version('mixsd')}"

    def post(self, parcel: Parcel) -> Outcome:
        """Send a message and say how it went. Never raises for what others do."""
        begun = self._ticks()
        try:
            target = self._rules.target(parcel.url)  # an operator may have become stricter
            outcome = self._exchange(parcel, target, begun)
        except WebhookUrlError as error:
            outcome = _failed(f"{error.reason}: {error}")
        except httpcore2.TimeoutException:
            outcome = _failed(f"no answer within {self._timeout:g} s")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            outcome = _failed(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        return Outcome(
            seconds=self._ticks() - begun,
            status=outcome.status,
            response=outcome.response,
            error=outcome.error,
            retry_after=outcome.retry_after,
        )

    def _exchange(self, parcel: Parcel, target: Target, begun: float) -> Outcome:
        deadline = Deadline(begun + self._timeout, self._ticks)
        backend = Judged(self._rules, target, self._resolve, deadline)
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path.encode()
        )
        with (
            httpcore2.ConnectionPool(
                ssl_context=self._tls, max_keepalive_connections=0, network_backend=backend
            ) as pool,
            pool.stream(
                "POST", url, headers=self._headers(parcel, target), content=parcel.body.encode()
            ) as got,
        ):
            return Outcome(
                seconds=0.0,
                status=got.status,
                response=_beginning(got),
                error=_said_by(got.status),
                retry_after=self._retry_after(got),
            )

    def _headers(self, parcel: Parcel, target: Target) -> dict[bytes | str, bytes | str]:
        now = self._clock()
        signed = [Signer(secret).sign(parcel.delivery_id, now, parcel.body) for secret in parcel.secrets]
        return {
            "Host": target.authority,
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Connection": "close",
            "Accept-Encoding": "identity",
            "webhook-id": parcel.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signed),
        }

    def _retry_after(self, answer: httpcore2.Response) -> timedelta | None:
        """Return how long the receiver asks to be left alone: seconds, or a date."""
        said = next((value for name, value in answer.headers if name.lower() == b"retry-after"), b"")
        text = said.decode("ascii", "replace").strip()
        if text.isdecimal() and len(text) < 10:
            return timedelta(seconds=int(text))
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(until - self._clock(), timedelta(0))


def _beginning(answer: httpcore2.Response) -> str:
    """Return the beginning of the body, as text. What does not come in time is not waited for.

    The status is there already, and it decides.
    """
    body = b""
    try:
        for part in answer.iter_stream():
            body += part
            if len(body) >= KEPT:
                break
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        pass
    return body[:KEPT].decode("utf-8", "replace").replace("\x00", "\ufffd")


def _said_by(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}"


def _failed(error: str) -> Outcome:
    return Outcome(seconds=0.0, error=error.replace("\x00", "\ufffd")[:1000])
