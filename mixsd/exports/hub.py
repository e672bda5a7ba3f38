"""Adapters and exports on the Hugging Face Hub. The token is used and never kept, logged or told."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it is documented

from mixsd.errors import MixsdError

_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


class HubError(MixsdError):
    """The Hub refused, or could not be reached."""

    code: ClassVar[str] = "hub_refused"


class HubTokenError(HubError):
    """There is no token, or it is good for nothing."""

    code: ClassVar[str] = "hub_token"


class HubScopeError(HubError):
    """The token may not write there."""

    code: ClassVar[str] = "hub_scope"


class HubTargetError(HubError):
    """The name of the repository or branch is none."""

    code: ClassVar[str] = "hub_repo_id"


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where something is on the Hub."""

    repo_id: str
    url: str
    commit: str


def check_target(repo_id: str, revision: str | None, *, token: str | None) -> None:
    """Refuse what cannot work before anything is fetched for it. Asks nobody.

    Raises:
        HubTargetError: `repo_id` is no `owner/name`, or `revision` no name of a branch.
        HubTokenError: No token is named, and none was stored by `hf auth login`.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        owned = False
    else:
        owned = repo_id.count("/") == 1
    if not owned:
        shown = repr(repo_id[:100])
        raise HubTargetError(f"{shown} is no repository: write `owner/name`, of letters, digits, -, _ and .")
    if revision is not None and (not _BRANCH.fullmatch(revision) or ".." in revision):
        raise HubTargetError(f"{revision[:100]!r} is no branch: write letters, digits, dots, dashes, slashes")
    _token(token)


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> Pushed:
    """Put all files of a folder into a repository of models, in one commit. It is made if it is not there.

    Args:
        folder: An adapter or export, with its card and manifest.
        private: Whether a new repository is private. One that is there stays as it is.
        revision: Branch. It is made if it is not there.
        token: Left out, the one that `hf auth login` stored.
        endpoint: Of the Hub. Left out, that of `HF_ENDPOINT`.

    Raises:
        HubTargetError: The names are none.
        HubTokenError: There is no token, or the Hub does not know it.
        HubScopeError: The token may not write there.
        HubError: The Hub refused for another reason, or is out of reach.
    """
    check_target(repo_id, revision, token=token)
    api = HfApi(endpoint=endpoint, token=_token(token), library_name="mixsd")
    with _explained(repo_id, endpoint or constants.ENDPOINT):
        made = api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message="Upload by MixSD",
        )
    at = f"{made}/tree/{revision}" if revision else str(made)
    return Pushed(repo_id, at, done.oid)


def _token(token: str | None) -> str:
    found = token or get_token()
    if not found:
        raise HubTokenError("there is no token for the Hub: set HF_TOKEN, or run `hf auth login`")
    return found


@contextmanager
def _explained(repo_id: str, endpoint: str) -> Iterator[None]:
    """Say what a refusal means. What the Hub said is told, its answer's headers are not."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = (error.server_message or "").splitlines()
        why = f": {said[0][:200]}" if said else ""
        if status == _UNAUTHORIZED:
            raise HubTokenError(f"the Hub does not know the token{why}") from None
        if status == _FORBIDDEN:
            raise HubScopeError(
                f"the token may not write to {repo_id}: it needs the scope `write`{why}"
            ) from None
        raise HubError(f"the Hub answered {status} about {repo_id}{why}") from None
    except (httpx2.HTTPError, OSError) as error:
        raise HubError(f"no answer from {endpoint}: {type(error).__name__}") from None
