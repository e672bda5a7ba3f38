"""Pushing a folder to a stand-in of the Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mixsd.exports.hub import (
    HubError,
    HubScopeError,
    HubTargetError,
    HubTokenError,
    check_target,
    push_folder,
)
from tests.fixtures.hub import COMMIT, READER, WRITER, FakeHub, create_hub
from tests.served import serving

FILES = {
    "README.md": b"---\nbase_model: owner/model\ntags:\n- mixsd\n---\n\n# New facts\n",
    "adapter_config.json": b"{}",
    "adapter_model.safetensors": bytes(range(256)) * 40,
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with serving(create_hub(hub)) as url:
        hub.url = url
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path, content in FILES.items():
        (folder / path).write_bytes(content)
    return folder


def test_all_files_come_into_a_private_repository_that_is_made(hub: FakeHub, folder: Path) -> None:
    pushed = push_folder(folder, "me/facts", token=WRITER, endpoint=hub.url)

    assert hub.pushed("me/facts") == FILES
    assert hub.private == {"me/facts": True}
    assert (pushed.repo_id, pushed.url, pushed.commit) == ("me/facts", f"{hub.url}/me/facts", COMMIT)


def test_one_that_is_there_is_pushed_to_again_on_a_branch_of_its_own(hub: FakeHub, folder: Path) -> None:
    push_folder(folder, "me/facts", private=False, token=WRITER, endpoint=hub.url)

    pushed = push_folder(folder, "me/facts", revision="v2", token=WRITER, endpoint=hub.url)

    assert hub.private == {"me/facts": False}
    assert hub.branches == {("me/facts", "v2")}
    assert hub.pushed("me/facts", "v2") == FILES
    assert pushed.url == f"{hub.url}/me/facts/tree/v2"


def test_a_token_without_the_scope_to_write_is_refused_with_what_it_needs(hub: FakeHub, folder: Path) -> None:
    with pytest.raises(HubScopeError, match="scope `write`") as refused:
        push_folder(folder, "me/facts", token=READER, endpoint=hub.url)

    assert READER not in str(refused.value)
    assert hub.pushed("me/facts") == {}


def test_a_token_that_the_hub_does_not_know_is_refused(hub: FakeHub, folder: Path) -> None:
    with pytest.raises(HubTokenError, match="does not know the token") as refused:
        push_folder(folder, "me/facts", token="hf_of_nobody", endpoint=hub.url)  # noqa: S106  made up

    assert "hf_of_nobody" not in str(refused.value)


def test_a_hub_that_does_not_answer_is_told_as_such(folder: Path) -> None:
    with pytest.raises(HubError, match="no answer from"):
        push_folder(folder, "me/facts", token=WRITER, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    "repo_id",
    ["facts", "me/my/facts", "me/", "/facts", "me/fa cts", "me/..", "me/facts.git", "me/" + "x" * 200],
    ids=["no owner", "three parts", "no name", "no owner but a slash", "space", "dots", "git", "long"],
)
def test_what_is_no_repository_is_refused_before_anything_is_asked(
    hub: FakeHub, folder: Path, repo_id: str
) -> None:
    with pytest.raises(HubTargetError, match="owner/name"):
        push_folder(folder, repo_id, token=WRITER, endpoint=hub.url)

    assert hub.requests == []


@pytest.mark.parametrize("revision", ["", "../main", "a b", "-x"], ids=["empty", "dots", "space", "dash"])
def test_what_is_no_branch_is_refused(revision: str) -> None:
    with pytest.raises(HubTargetError, match="no branch"):
        check_target("me/facts", revision, token=WRITER)
