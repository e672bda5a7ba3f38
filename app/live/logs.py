"""The log of a job: how its worker marks it, and how it is read.

It lies in the job's folder, as the newest part and the one before. Each part begins with a mark
that numbers it, and so does each attempt, so that a line has a place which stays the same when
parts move on.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.log import redacted

NEWEST: Final = "log.txt"
OLDER: Final = "log.old.txt"

PART_BYTES: Final = 1_000_000
"""Size at which a part is full, and most bytes of a line. So no part has more than twice as many."""

_LONGEST: Final = 8_000
"""Characters of a line that are shown."""

_PLACES: Final = 10**10
"""More than a part has bytes."""

_MARK: Final = re.compile(rb"--- mixsd: part (\d{1,7}), attempt (\d{1,9}) ---\n")
_INVISIBLE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PATH: Final = re.compile(r"(?<![\w.:/…<])(?:/[^\s/\"'<>:,;()]+){2,}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was printed. Most are never shown, so only those that are shown are made fit for it."""

    position: int
    attempt: int | None
    printed: bytes

    @property
    def text(self) -> str:
        return shown(self.printed.decode(errors="replace"))


def mark(part: int, attempt: int) -> bytes:
    """Return the line with which a part or an attempt begins."""
    return f"--- mixsd: part {part}, attempt {attempt} ---\n".encode()


def part_of(first_line: bytes) -> int:
    """Return the number of the part that begins with this line; 0 if it has no mark."""
    found = _MARK.fullmatch(first_line)
    return int(found[1]) if found else 0


def read_log(folder: Path) -> Sequence[Line] | None:
    """Return the lines that are kept, in order and without marks; None if there are none kept.

    A line that is not written to its end is left for the next time.
    """
    newest = _read(folder / NEWEST)  # first: it may become the older one meanwhile, which is then left out
    older = _read(folder / OLDER)
    if newest is None and older is None:
        return None
    lines = [] if older is None or older == newest else list(_lines(older))
    return [*lines, *(_lines(newest) if newest is not None else ())]


def _read(file: Path) -> bytes | None:
    """Read a file whole. A link, or what else is no file, counts as nothing."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as opened:
        return opened.read(3 * PART_BYTES)


def _lines(content: bytes) -> Iterator[Line]:
    part, attempt, offset = part_of(content[: content.find(b"\n") + 1]), None, 0
    for line in _split(content):
        if found := _MARK.fullmatch(line):
            attempt = int(found[2])
        else:
            yield Line(part * _PLACES + offset, attempt, line)
        offset += len(line)


def _split(content: bytes) -> Iterator[bytes]:
    """Split behind line feeds, and leave out what comes behind the last one."""
    yield from (part + b"\n" for part in content.split(b"\n")[:-1])


def shown(line: str) -> str:
    """Return a line as clients may see it: without secrets and without what moves a terminal.

    Of a bar that was drawn over and over the last drawing stays. Of a path stay its last parts: they
    say which file it is, and nothing of the machine.

    Example:
        >>> shown("FileNotFoundError: '/srv/mixsd/data/work/job_1/adapter.bin' for https://hub/a/b")
        "FileNotFoundError: '…/job_1/adapter.bin' for https://hub/a/b"
        >>> shown('  File "/opt/venv/lib/python3.12/site-packages/torch/nn/module.py", line 3')
        '  File "…/torch/nn/module.py", line 3'
    """
    text = line.rstrip("\r\n").rpartition("\r")[2]
    text = _INVISIBLE.sub("", text)
    text = _PATH.sub(lambda found: _shortened(found[0]), redacted(text))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _shortened(path: str) -> str:
    parts = path.strip("/").split("/")
    if "site-packages" in parts:
        kept = parts[parts.index("site-packages") + 1 :]
    else:
        kept = parts[-2:] if len(parts) > 3 else parts[-1:]
    return "/".join(["…", *kept])
