"""What is said of a model before it is used: from disk, or from a hub that is there, shut or away."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mixsd.models.calls import Hub
from mixsd.models.load import load_base
from mixsd.models.looking import Seen, look
from mixsd.models.registry import BUILT_IN, find
from tests.fixtures.tiny import PARAMETERS, TEMPLATE, save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "acme/tiny"
BUILT_IN_ID = "smollm2-135m-instruct"
ANSWER = httpx2.Response(403, request=httpx2.Request("GET", "https://hub.example"))


class Shelf:
    """A hub that has one model, and answers as it is told."""

    def __init__(self, folder: Path, **info: Any) -> None:
        self.folder = folder
        self.refuses: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.info = {"gated": False, "safetensors": SimpleNamespace(total=PARAMETERS), **info}

    def look_up(self, model_id: str, *, revision: str | None, files_metadata: bool, timeout: float) -> Any:
        assert 0 < timeout <= 10
        self._ask("info")
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        siblings = [SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in files]
        return SimpleNamespace(sha=COMMIT, siblings=siblings, card_data={"license": "mit"}, **self.info)

    def download(
        self, model_id: str, name: str, *, revision: str, local_dir: Path, etag_timeout: float
    ) -> None:
        assert revision == COMMIT
        self._ask(name)
        shutil.copyfile(self.folder / name, local_dir / name)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.refuses:
            raise self.refuses[what]

    def as_hub(self) -> Hub:
        return Hub(self.look_up, self.download)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(save_tiny(tmp_path / "remote"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def seen_on(shelf: Shelf, cache: Path, revision: str | None = None) -> Seen:
    may, seen = look(cache, ID, revision, allowed=("*",), hub=shelf.as_hub())
    assert may
    return seen


def codes(seen: Seen) -> list[str]:
    return [trouble.code for trouble in seen.troubles]


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_model_of_the_hub_is_described_and_no_weights_are_fetched(shelf: Shelf, cache: Path) -> None:
    seen = seen_on(shelf, cache)

    assert (seen.exists, seen.gated, seen.revision, seen.licence) == (True, False, COMMIT, "mit")
    assert (seen.parameters, seen.on_disk, seen.troubles) == (PARAMETERS, False, ())
    assert seen.bytes == (shelf.folder / "model.safetensors").stat().st_size
    assert seen.template_sha256 == hashlib.sha256(TEMPLATE.encode()).hexdigest()
    assert (seen.shape.layers, seen.shape.parameters) == (2, PARAMETERS)
    assert shelf.asked[0] == "info"
    assert not any("safetensors" in name or name == "tokenizer.json" for name in shelf.asked)
    assert not cache.exists()


def test_a_template_on_disk_has_the_digest_that_runs_name_it_by(tiny_cache: Path) -> None:
    found = find(tiny_cache, "tiny/random")
    assert found is not None

    _, seen = look(tiny_cache, "tiny/random", None, allowed=("*",), hub=Hub())

    assert seen.template_sha256 == load_base(found, device="cpu").template_sha256
    assert (seen.on_disk, seen.revision, seen.licence) == (True, "r1", "apache-2.0")


@pytest.mark.parametrize("where", ["info", "config.json"])
def test_a_gated_model_says_where_to_accept_its_licence(shelf: Shelf, cache: Path, where: str) -> None:
    shelf.refuses[where] = GatedRepoError("Bearer hf_secret", response=ANSWER)

    seen = seen_on(shelf, cache)

    assert (seen.exists, seen.gated, codes(seen)) == (True, True, ["gated"])
    assert f"/{ID}" in seen.troubles[0].detail
    assert "HF_TOKEN" in seen.troubles[0].detail
    assert "secret" not in str(seen)
    assert seen.licence == (None if where == "info" else "mit")


@pytest.mark.parametrize(
    ("error", "exists", "code"),
    [
        (RepositoryNotFoundError("hf_secret", response=ANSWER), False, "model_not_found"),
        (RevisionNotFoundError("hf_secret", response=ANSWER), True, "revision_not_found"),
        (httpx2.ConnectTimeout("hf_secret"), None, "hub_unreachable"),
        (OfflineModeIsEnabled("hf_secret"), None, "hub_unreachable"),
        (OSError("hf_secret"), None, "hub_unreachable"),
    ],
)
def test_what_a_hub_refuses_is_a_problem_with_a_code(
    shelf: Shelf, cache: Path, error: Exception, code: str, *, exists: bool | None
) -> None:
    shelf.refuses["info"] = error

    seen = seen_on(shelf, cache, "main")

    assert (seen.exists, codes(seen)) == (exists, [code])
    assert "hf_secret" not in str(seen)


def test_what_a_worker_would_refuse_is_said_before(shelf: Shelf, cache: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
        (shelf.folder / name).unlink()
    change(shelf.folder / "config.json", auto_map={"AutoModel": "x.Y"}, quantization_config={"bits": 4})

    found = codes(seen_on(shelf, cache))

    assert found == ["unsafe_weights", "no_fast_tokenizer", "remote_code", "quantised", "no_chat_template"]
    (shelf.folder / "config.json").write_text("[" * 100_000)
    assert "bad_model" in codes(seen_on(shelf, cache))


def test_a_model_that_may_not_be_named_is_not_asked_for(shelf: Shelf, cache: Path) -> None:
    for name, code in ((ID, "model_not_allowed"), ("../../etc", "bad_name"), ("magic", "bad_name")):
        may, seen = look(cache, name, None, allowed=("owner/model",), hub=shelf.as_hub())
        assert (may, seen.exists, codes(seen)) == (False, None, [code])
    assert shelf.asked == []


def test_a_built_in_model_is_known_without_a_hub(shelf: Shelf, cache: Path) -> None:
    _, seen = look(cache, BUILT_IN_ID, None, allowed=(), hub=shelf.as_hub())
    _, other = look(cache, BUILT_IN_ID, "v2", allowed=(), hub=shelf.as_hub())

    assert (seen.exists, seen.gated, seen.on_disk) == (True, False, False)
    assert seen.parameters == BUILT_IN[BUILT_IN_ID].parameters
    assert codes(other) == ["revision_not_found"]
    assert shelf.asked == []
