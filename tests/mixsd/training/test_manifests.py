"""A checkpoint is what its manifest says and what was registered, or it is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mixsd.errors import CorruptError
from mixsd.training import checkpoint

MANIFEST = "MANIFEST.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files and the manifest of them."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"content of {name}")
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a", "b")}
    (tmp_path / MANIFEST).write_text(json.dumps({"files": digests}))
    return tmp_path


def test_a_whole_checkpoint_is_known_by_its_manifest(folder: Path) -> None:
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()

    assert checkpoint.verify(folder) == digest
    assert checkpoint.verify(folder, digest) == digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "a").write_text("content of b"),
        lambda folder: (folder / "a").write_text("content"),
        lambda folder: (folder / "more").touch(),
    ],
    ids=["changed", "truncated", "too-many"],
)
def test_a_checkpoint_that_is_not_as_its_manifest_says_is_refused(
    folder: Path, damage: Callable[[Path], object]
) -> None:
    damage(folder)

    with pytest.raises(CorruptError, match="not complete or was changed"):
        checkpoint.verify(folder)


def test_a_whole_checkpoint_that_is_not_the_registered_one_is_refused(folder: Path) -> None:
    with pytest.raises(CorruptError, match="another one than was registered"):
        checkpoint.verify(folder, "0" * 64)
