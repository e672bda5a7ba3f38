"""Parts of a file: the headers `Range` and `If-Range` of RFC 9110, sections 13.1.5 and 14."""

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from starlette.datastructures import Headers

from app.errors import RangeError

_ONE_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,20})-(\d{0,20})[ \t]*", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiableError(RangeError):
    code: ClassVar[str] = "range_not_satisfiable"

    def __init__(self, length: int) -> None:
        super().__init__(f"the file has {length} bytes, and the range that was asked for lies beyond them")
        self._length = length

    def headers(self) -> Mapping[str, str]:
        return {"Content-Range": f"bytes */{self._length}"}


def part_of(headers: Headers, *, tag: str, length: int) -> range | None:
    """Return the bytes that a request asks for; None where it gets the whole file.

    So it does where it asks for several parts, for something that cannot be read, or, with `If-Range`,
    for a part of a file with another tag. A date in `If-Range` names no content that we know.

    Raises:
        RangeNotSatisfiableError: The part lies beyond the end.

    Example:
        >>> part_of(Headers({"range": "bytes=2-"}), tag="a", length=5)
        range(2, 5)
        >>> part_of(Headers({"range": "bytes=-2", "if-range": '"b"'}), tag="a", length=5)
    """
    found = _ONE_RANGE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", f'"{tag}"').strip() != f'"{tag}"':
        return None
    first, last = found.groups()
    if not first:
        return _suffix(last, length)
    if last and int(last) < int(first):
        return None
    if int(first) >= length:
        raise RangeNotSatisfiableError(length)
    return range(int(first), min(int(last) + 1, length) if last else length)


def _suffix(count: str, length: int) -> range | None:
    """Return the last `count` bytes."""
    if not count:
        return None
    if int(count) == 0 or length == 0:
        raise RangeNotSatisfiableError(length)
    return range(max(0, length - int(count)), length)
