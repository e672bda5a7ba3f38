"""Gated models, by the real client against a stand-in of the Hub: what is said, and nothing is fetched."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixsd.errors import HubRefusedError, HubUnreachableError, LicenceRequiredError, ModelNotFoundError
from mixsd.models.looking import look
from mixsd.models.registry import on_disk
from mixsd.models.store import pull
from tests.fixtures.gated import ACCEPTED, COMMIT, ID, OTHER, a_gated_hub, hub_at
from tests.fixtures.tiny import save_tiny


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with a_gated_hub(save_tiny(tmp_path / "remote")) as url:
        yield url


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("token", "code", "error"),
    [
        (None, "gated", LicenceRequiredError),
        (OTHER, "gated", LicenceRequiredError),
        ("hf_unknown", "hub_refused", HubRefusedError),
    ],
    ids=["no token", "a token of someone who has not accepted", "a token that is none"],
)
def test_who_may_not_have_it_is_told_what_to_do(
    url: str, cache: Path, token: str | None, code: str, error: type[ModelNotFoundError]
) -> None:
    hub = hub_at(url, token)

    _, seen = look(cache, ID, None, allowed=("*",), hub=hub)
    with pytest.raises(error) as caught:
        pull(ID, cache=cache, hub=hub)

    (trouble,) = seen.troubles
    assert trouble.code == code
    for said in (trouble.detail, str(caught.value)):
        assert f"/{ID}" in said or code == "hub_refused"
        assert "HF_TOKEN" in said
        assert "hf_" not in said
        assert ("licence" in said) == (code == "gated")
    if code == "gated":
        assert (seen.exists, seen.gated, seen.licence) == (True, True, "llama3.2")
    assert caught.value.code == type(caught.value).code
    assert not caught.value.retryable
    assert not list(on_disk(cache))


def test_who_has_accepted_its_licence_gets_it(url: str, cache: Path) -> None:
    hub = hub_at(url, ACCEPTED)

    _, seen = look(cache, ID, None, allowed=("*",), hub=hub)
    found = pull(ID, cache=cache, hub=hub)

    assert (seen.gated, seen.troubles) == (True, ())
    assert (found.revision, found.card["licence"]) == (COMMIT, "llama3.2")


def test_a_hub_that_is_away_can_be_asked_again(cache: Path) -> None:
    with socket.socket() as nobody:  # bound and not listening: no one else can be there
        nobody.bind(("127.0.0.1", 0))
        hub = hub_at(f"http://127.0.0.1:{nobody.getsockname()[1]}", None)
        with pytest.raises(HubUnreachableError) as caught:
            pull(ID, cache=cache, hub=hub)

    assert (caught.value.code, caught.value.category, caught.value.retryable) == (
        "hub_unreachable",
        "system",
        True,
    )
    assert "mixsd models add" in str(caught.value)
