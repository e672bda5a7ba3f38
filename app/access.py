"""Who may do what: scopes, callers, and why one is turned away. Knows neither HTTP nor tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from app.errors import ForbiddenError, TooManyError, UnauthenticatedError
from app.ids import ApiKeyId, ProjectId


class Scope(StrEnum):
    """What a key allows. None of them contains another one."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for which project. Without a key, `key_id` is None.

    An operator looks after the projects themselves: an admin of the default project.
    """

    project_id: ProjectId
    scopes: frozenset[Scope]
    key_id: ApiKeyId | None = None
    is_operator: bool = False

    def require(self, scope: Scope) -> None:
        """Do nothing if the caller has `scope`.

        Raises:
            MissingScopeError: It has not.
        """
        if scope not in self.scopes:
            raise MissingScopeError(scope)


class Doorkeeper(Protocol):
    """Says who a caller is."""

    def known(self, secret: str | None, *, is_local: bool) -> Caller | None:
        """Return the caller if that takes no look into the database, else None. Does not wait.

        Raises:
            UnauthenticatedError: As `admit` says, where it is certain already.
        """
        ...

    def admit(self, secret: str | None, *, is_local: bool) -> Caller:
        """Return the caller that shows `secret`, or None of it.

        Args:
            is_local: The connection comes from this very machine.

        Raises:
            UnauthenticatedError: A key is needed, and there is none, or it is good for nothing.
        """
        ...

    def is_due(self, caller: Caller) -> bool:
        """Say whether `note_use` should be called, once and then not for a while."""
        ...

    def note_use(self, caller: Caller) -> None:
        """Write down that the key was used. Never raises."""
        ...

    def forget(self) -> None:
        """Look anew for whoever comes next: keys were changed."""
        ...


class KeyNeededError(UnauthenticatedError):
    code: ClassVar[str] = "unauthenticated"


class InvalidKeyError(UnauthenticatedError):
    code: ClassVar[str] = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("this is none of the API keys of this service")


class ExpiredKeyError(UnauthenticatedError):
    code: ClassVar[str] = "expired_api_key"

    def __init__(self, prefix: str) -> None:
        super().__init__(f"the API key {prefix}… has expired: make another one")


class RevokedKeyError(UnauthenticatedError):
    code: ClassVar[str] = "revoked_api_key"

    def __init__(self, prefix: str) -> None:
        super().__init__(f"the API key {prefix}… was revoked: use another one")


class MissingScopeError(ForbiddenError):
    code: ClassVar[str] = "missing_scope"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"this needs an API key with the scope `{scope}`")
        self.scope = scope


class OperatorOnlyError(ForbiddenError):
    code: ClassVar[str] = "operator_only"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} takes an admin key of the default project")


class RateLimitedError(TooManyError):
    code: ClassVar[str] = "rate_limited"

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(
            f"more than {limit} requests in this minute: wait {retry_after} s", retry_after=retry_after
        )


class QuotaExceededError(TooManyError):
    """A project has used up what it may have. `quota` names it as `GET /quota` does."""

    code: ClassVar[str] = "quota_exceeded"

    def __init__(self, quota: str, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, retry_after=retry_after)
        self._quota = quota

    def members(self) -> Mapping[str, object]:
        return {"quota": self._quota}
