import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

from mixsd.errors import (
    CorruptError,
    DiskFullError,
    ModelError,
    ModelNotAllowedError,
    ModelNotFoundError,
    NoChatTemplateError,
    UnsafeWeightsError,
)
from mixsd.models import registry
from mixsd.models.calls import Hub
from mixsd.models.store import add_local, pull
from mixsd.progress import Progress
from tests.fixtures.tiny import PARAMETERS, save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "acme/tiny"


class FakeHub:
    """Serves a folder as one commit, with branch `main`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloaded: list[str] = []

    def info(self, model_id: str, *, revision: str | None, files_metadata: bool) -> Any:
        siblings = [self._sibling(path) for path in sorted(self.folder.rglob("*")) if path.is_file()]
        return SimpleNamespace(sha=COMMIT, siblings=siblings, card_data={"license": "mit"})

    def _sibling(self, path: Path) -> Any:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lfs = SimpleNamespace(sha256=digest) if path.suffix == ".safetensors" else None
        name = str(path.relative_to(self.folder))
        return SimpleNamespace(rfilename=name, size=path.stat().st_size, lfs=lfs)

    def download(self, model_id: str, name: str, *, revision: str, local_dir: Path) -> None:
        assert revision == COMMIT
        self.downloaded.append(name)
        (local_dir / ".cache").mkdir(exist_ok=True)
        shutil.copyfile(self.folder / name, local_dir / name)

    def as_hub(self) -> Hub:
        return Hub(self.info, self.download)


@pytest.fixture
def remote(tmp_path: Path) -> FakeHub:
    return FakeHub(save_tiny(tmp_path / "remote"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def left_in(cache: Path) -> list[str]:
    """Files in the cache, but for locks."""
    return [
        str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"
    ]


def test_a_branch_is_pinned_to_its_commit_and_pulled_once(remote: FakeHub, cache: Path) -> None:
    first = pull(ID, cache=cache, revision="main", hub=remote.as_hub())
    again = pull(ID, cache=cache, revision="main", hub=remote.as_hub())

    assert first == again
    assert first.revision == COMMIT
    assert first.folder == registry.folder_of(cache, ID, COMMIT)
    assert (first.card["licence"], first.card["parameters"]) == ("mit", PARAMETERS)
    assert len(remote.downloaded) == len(set(remote.downloaded))


def test_the_card_holds_the_digest_of_every_file(remote: FakeHub, cache: Path) -> None:
    model = pull(ID, cache=cache, hub=remote.as_hub())

    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in model.folder.iterdir()
        if path.name != registry.CARD
    }
    assert model.card["sha256"] == digests
    assert not (model.folder / ".cache").exists()


def test_what_is_on_disk_needs_no_hub(remote: FakeHub, cache: Path) -> None:
    pulled = pull(ID, cache=cache, hub=remote.as_hub())

    assert pull(ID, cache=cache, hub=unreachable()) == pulled
    assert pull(ID, cache=cache, revision=COMMIT, hub=unreachable()) == pulled


def test_only_data_is_downloaded(remote: FakeHub, cache: Path) -> None:
    (remote.folder / "onnx").mkdir()
    for name in ("pytorch_model.bin", "modeling_evil.py", "onnx/config.json", "consolidated.safetensors"):
        (remote.folder / name).write_text("x")

    model = pull(ID, cache=cache, hub=remote.as_hub())

    assert {path.suffix for path in model.folder.iterdir()} == {".json", ".jinja", ".safetensors"}
    assert not {name for name in remote.downloaded if "evil" in name or "onnx" in name or "conso" in name}


def test_progress_counts_bytes_and_may_stop_the_pull(remote: FakeHub, cache: Path) -> None:
    seen: list[Progress] = []
    pull(ID, cache=cache, hub=remote.as_hub(), on_progress=seen.append)
    assert seen[0].done == 0
    assert seen[-1].done == seen[-1].total == sum(path.stat().st_size for path in remote.folder.iterdir())

    def stop(progress: Progress, /) -> None:
        if progress.done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pull("acme/other", cache=cache, hub=remote.as_hub(), on_progress=stop)
    assert not [name for name in left_in(cache) if "other" in name]


def unreachable() -> Hub:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise httpx2.ConnectError("no route")

    return Hub(fail, fail)


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "http://hub.test/api"))


@pytest.mark.parametrize(
    ("error", "says", "code"),
    [
        (httpx2.ConnectError("no route"), "cannot be reached", "hub_unreachable"),
        (OfflineModeIsEnabled("offline"), "cannot be reached", "hub_unreachable"),
        (
            GatedRepoError("gated", response=response(403)),
            f"accept its licence at .*/{ID}",
            "license_required",
        ),
        (RepositoryNotFoundError("none", response=response(404)), "no model acme/tiny", "model_not_found"),
    ],
)
def test_a_hub_that_refuses_is_explained(cache: Path, error: Exception, says: str, code: str) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    with pytest.raises(ModelNotFoundError, match=says) as caught:
        pull(ID, cache=cache, hub=Hub(fail, fail))
    assert caught.value.code == code


def without_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Evil"}}))


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (without_safetensors, UnsafeWeightsError),
        (with_code, ModelNotAllowedError),
        (without_template, NoChatTemplateError),
    ],
)
def test_a_model_that_we_refuse_leaves_nothing_behind(
    remote: FakeHub, cache: Path, spoil: Callable[[Path], None], error: type[ModelError]
) -> None:
    spoil(remote.folder)

    with pytest.raises(error):
        pull(ID, cache=cache, hub=remote.as_hub())
    with pytest.raises(error):
        add_local(ID, remote.folder, cache=cache)

    assert left_in(cache) == []


def test_code_is_found_before_the_weights_are_downloaded(remote: FakeHub, cache: Path) -> None:
    with_code(remote.folder)

    with pytest.raises(ModelNotAllowedError):
        pull(ID, cache=cache, hub=remote.as_hub())

    assert "model.safetensors" not in remote.downloaded


def test_weights_that_differ_from_what_the_hub_says_are_refused(remote: FakeHub, cache: Path) -> None:
    def download(model_id: str, name: str, *, revision: str, local_dir: Path) -> None:
        remote.download(model_id, name, revision=revision, local_dir=local_dir)
        if name.endswith(".safetensors"):
            with (local_dir / name).open("r+b") as file:
                file.seek(-1, 2)
                file.write(b"\x7f")

    with pytest.raises(CorruptError, match=r"model\.safetensors"):
        pull(ID, cache=cache, hub=Hub(remote.info, download))
    assert left_in(cache) == []


def test_a_full_disk_leaves_nothing_behind(remote: FakeHub, cache: Path) -> None:
    def download(model_id: str, name: str, *, revision: str, local_dir: Path) -> None:
        remote.download(model_id, name, revision=revision, local_dir=local_dir)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match="room"):
        pull(ID, cache=cache, hub=Hub(remote.info, download))
    assert left_in(cache) == []


def test_what_a_crash_left_behind_is_no_model_and_is_replaced(remote: FakeHub, cache: Path) -> None:
    partial = cache / ".partial" / "acme--tiny" / COMMIT
    partial.mkdir(parents=True)
    (partial / registry.CARD).write_text(json.dumps({"id": ID, "revision": COMMIT}))
    (partial / "rest").touch()
    assert registry.find(cache, ID) is None

    model = pull(ID, cache=cache, hub=remote.as_hub())

    assert not (model.folder / "rest").exists()


def test_a_model_under_way_is_not_where_models_are_looked_for(remote: FakeHub, cache: Path) -> None:
    seen: list[Path] = []

    def download(model_id: str, name: str, *, revision: str, local_dir: Path) -> None:
        remote.download(model_id, name, revision=revision, local_dir=local_dir)
        (local_dir / registry.CARD).write_text(json.dumps({"id": ID, "revision": COMMIT}))
        seen.extend(model.folder for model in registry.on_disk(cache))

    pull(ID, cache=cache, hub=Hub(remote.info, download))

    assert seen == []


def test_two_that_pull_at_once_do_the_work_once(remote: FakeHub, cache: Path) -> None:
    found: list[registry.OnDisk] = []
    threads = [
        Thread(target=lambda: found.append(pull(ID, cache=cache, revision="main", hub=remote.as_hub())))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert remote.downloaded.count("model.safetensors") == 1


def test_an_id_that_the_operator_does_not_allow_is_not_looked_up(remote: FakeHub, cache: Path) -> None:
    with pytest.raises(ModelNotAllowedError, match="not allowed"):
        pull(ID, cache=cache, allowed=("acme/other",), hub=remote.as_hub())
    assert remote.downloaded == []


def test_a_folder_is_copied_and_then_found_by_its_id(tmp_path: Path, cache: Path) -> None:
    folder = save_tiny(tmp_path / "ours")
    (folder / "notes.txt").write_text("private")

    model = add_local("ours/tiny", folder, cache=cache)

    assert registry.find(cache, "ours/tiny") == model
    assert model.revision == "local"
    assert not (model.folder / "notes.txt").exists()
    assert (folder / "model.safetensors").exists()


def test_a_registered_revision_is_never_overwritten(tmp_path: Path, cache: Path) -> None:
    folder = save_tiny(tmp_path / "ours")
    add_local("ours/tiny", folder, cache=cache)

    with pytest.raises(ModelError, match="another revision"):
        add_local("ours/tiny", folder, cache=cache)
    assert add_local("ours/tiny", folder, cache=cache, revision="v2").revision == "v2"


def test_a_folder_cannot_take_the_place_of_a_built_in_model(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ModelNotAllowedError, match="ours/smollm2"):
        add_local("smollm2-135m-instruct", save_tiny(tmp_path / "ours"), cache=cache)


def test_a_built_in_model_has_one_revision(cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no revision main"):
        pull("smollm2-135m-instruct", cache=cache, revision="main")
