import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from mixsd.durable import whole_folder
from mixsd.errors import DiskFullError


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target, partial = tmp_path / "deep" / "target", tmp_path / "partial"

    with whole_folder(target, partial) as folder:
        (folder / "a").write_text("1")
        (folder / "a").chmod(0o600)
        assert not target.exists()

    assert (target / "a").read_text() == "1"
    assert (target / "a").stat().st_mode & 0o777 == 0o644
    assert not partial.exists()


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for name in ("old", "new"):
        with whole_folder(target, tmp_path / "partial") as folder:
            (folder / name).touch()

    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (SafetensorError("I/O error: No space left on device (os error 28)"), DiskFullError),
        (OSError(errno.EACCES, "Permission denied"), PermissionError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_leaves_the_older_folder_alone(
    tmp_path: Path, error: BaseException, becomes: type[BaseException]
) -> None:
    target = tmp_path / "target"
    with whole_folder(target, tmp_path / "partial") as folder:
        (folder / "old").touch()

    def fail() -> None:
        with whole_folder(target, tmp_path / "partial") as folder:
            (folder / "new").touch()
            raise error

    with pytest.raises(becomes):
        fail()

    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]
