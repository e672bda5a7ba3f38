"""Tells who a caller is by the key that it shows. Made once per process, and used by every request."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.access import Caller, ExpiredKeyError, InvalidKeyError, KeyNeededError, RevokedKeyError, Scope
from app.clock import Clock
from app.db.engine import Database
from app.ids import ApiKeyId
from app.projects import repository
from app.projects.keys import prefix_of, sha256_of
from app.projects.models import DEFAULT_PROJECT, ApiKey
from app.settings import AuthMode

log = structlog.get_logger(__name__)

NOTE_EVERY: Final = timedelta(minutes=1)
"""How exact `last_used_at` is."""

MOST_KNOWN: Final = 10_000
"""Keys that are remembered at once."""

EVERYONE: Final = Caller(DEFAULT_PROJECT, frozenset(Scope), is_operator=True)
"""Whoever comes to a service that asks for no keys."""


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    prefix: str
    expires_at: datetime | None
    until: datetime

    def is_fresh(self, now: datetime) -> bool:
        return now < self.until


class Keyring:
    """Looks keys up, one indexed query each, and trusts what it found for a moment.

    So long may a key still work that another process has revoked; this one forgets at once, see
    `forget`. Keys that are good for nothing are not remembered.
    """

    def __init__(self, database: Database, clock: Clock, *, mode: AuthMode, trust: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._mode = mode
        self._trust = trust
        self._has_keys = False
        self._open_until: datetime | None = None
        self._known: dict[str, _Known] = {}
        self._due: set[ApiKeyId] = set()

    def known(self, secret: str | None, *, is_local: bool) -> Caller | None:
        """See `app.access.Doorkeeper`."""
        now = self._clock()
        if self._mode is AuthMode.OFF:
            return EVERYONE
        if self._mode is AuthMode.AUTO and not self._has_keys:
            if self._open_until is None or now >= self._open_until:
                return None
            return _if_local(is_local=is_local)
        known = self._known.get(_digest_of(secret))
        return _if_valid(known, now) if known is not None and known.is_fresh(now) else None

    def admit(self, secret: str | None, *, is_local: bool) -> Caller:
        """See `app.access.Doorkeeper`."""
        if self._mode is AuthMode.AUTO and not self._has_keys:
            self._look_for_keys()
        found = self.known(secret, is_local=is_local)
        return found if found is not None else self._look_up(secret)

    def is_due(self, caller: Caller) -> bool:
        """See `app.access.Doorkeeper`."""
        if caller.key_id not in self._due:
            return False
        self._due.discard(caller.key_id)
        return True

    def note_use(self, caller: Caller) -> None:
        """See `app.access.Doorkeeper`."""
        if caller.key_id is None:
            return
        try:
            with self._database.begin() as session:
                repository.note_use(session, caller.key_id, now=self._clock(), at_most_every=NOTE_EVERY)
        except SQLAlchemyError as error:
            log.warning("key.use_not_noted", error=type(error).__name__)

    def forget(self) -> None:
        """See `app.access.Doorkeeper`."""
        self._open_until = None
        self._known.clear()

    def _look_for_keys(self) -> None:
        with self._database.read() as session:
            self._has_keys = repository.has_keys(session)
        self._open_until = self._clock() + max(self._trust, timedelta(seconds=1))

    def _look_up(self, secret: str | None) -> Caller:
        digest = _digest_of(secret)
        prefix = prefix_of(secret or "")
        with self._database.read() as session:
            key = repository.find_key(session, prefix or "")
        if key is None or not compare_digest(key.sha256, digest):
            raise InvalidKeyError
        if key.revoked_at is not None:
            raise RevokedKeyError(key.prefix)
        now = self._clock()
        known = _Known(_caller_of(key), key.prefix, key.expires_at, now + self._trust)
        caller = _if_valid(known, now)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[digest] = known
        if key.last_used_at is None or now - key.last_used_at >= NOTE_EVERY:
            self._due.add(key.id)
        return caller


def needs_first_key(database: Database) -> bool:
    """Say whether no key was ever made."""
    with database.read() as session:
        return not repository.has_keys(session)


def _digest_of(secret: str | None) -> str:
    if secret is None:
        raise KeyNeededError("send an API key: `Authorization: Bearer mixsd_…`")
    if prefix_of(secret) is None:
        raise InvalidKeyError
    return sha256_of(secret)


def _if_local(*, is_local: bool) -> Caller:
    if not is_local:
        raise KeyNeededError(
            "there is no API key yet, so only the service's own machine is answered: "
            "make one there with `mixsd keys create`"
        )
    return EVERYONE


def _if_valid(known: _Known, now: datetime) -> Caller:
    if known.expires_at is not None and now >= known.expires_at:
        raise ExpiredKeyError(known.prefix)
    return known.caller


def _caller_of(key: ApiKey) -> Caller:
    scopes = frozenset(_scopes(key.scopes))
    is_operator = key.project_id == DEFAULT_PROJECT and Scope.ADMIN in scopes
    return Caller(key.project_id, scopes, key.id, is_operator=is_operator)


def _scopes(stored: Iterable[str]) -> Iterable[Scope]:
    return (Scope(value) for value in stored)
