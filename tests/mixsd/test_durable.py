import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from mixsd.durable import whole_folder, write_whole
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


class Recorded:
    """What is asked of the disk, in its order; all of it is done as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))
        fsync = os.fsync

        def noting(descriptor: int) -> None:
            self.calls.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", noting)

    def _noting(self, name: str, call: Callable[..., None]) -> Callable[..., None]:
        def noting(source: object, target: object, **options: Any) -> None:
            self.calls.append((name, str(target)))
            call(source, target, **options)

        return noting

    def around(self, target: Path) -> tuple[set[str], list[tuple[str, str]]]:
        """Return what was synced before the name appeared, and all that was done after."""
        place = next(
            n for n, (name, path) in enumerate(self.calls) if name != "fsync" and path == str(target)
        )
        return {path for name, path in self.calls[:place] if name == "fsync"}, self.calls[place + 1 :]


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux for names of files")


@needs_proc
def test_a_folder_is_on_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, partial = tmp_path / "target", tmp_path / "partial"
    recorded = Recorded(monkeypatch)

    with whole_folder(target, partial) as folder:
        (folder / "deep").mkdir()
        (folder / "a").write_text("1")
        (folder / "deep" / "b").write_text("2")

    before, after = recorded.around(target)
    assert before >= {str(partial / name) for name in ("", "a", "deep", "deep/b")}
    assert after == [("fsync", str(tmp_path))]


@needs_proc
def test_a_file_is_on_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    recorded = Recorded(monkeypatch)

    write_whole(target, b"1")

    before, after = recorded.around(target)
    assert before == {str(tmp_path / ".target.partial")}
    assert after == [("fsync", str(tmp_path))]
