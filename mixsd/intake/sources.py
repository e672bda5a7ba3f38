"""The bytes of a file, and its text: UTF-8, of which only as much is held as is being read."""

import codecs
from typing import BinaryIO, Final

from mixsd.intake.records import MAX_RECORD, BrokenFileError

BLOCK: Final = 1 << 20
_BOM: Final = codecs.BOM_UTF8
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def start(file: BinaryIO) -> None:
    """Go to the first byte that counts: a byte order mark of UTF-8 is passed over.

    Raises:
        BrokenFileError: The file is UTF-16 or UTF-32.
    """
    file.seek(0)
    head = file.read(4)
    # In ASCII as UTF-16 and UTF-32 every character has a byte that is 0, and no text of ours has any.
    if head.startswith(_WIDE) or b"\x00" in head:
        raise BrokenFileError("unsupported_charset", "the file must be UTF-8; save it as such", 1, 1)
    file.seek(len(_BOM) if head.startswith(_BOM) else 0)


class Text:
    """A window on the text of a file, which moves on. Offsets are into `ahead`."""

    def __init__(self, file: BinaryIO) -> None:
        start(file)
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self.ahead = ""
        self.at_end = False
        self._line, self._column, self._counted = 1, 1, 0

    def fill(self, offset: int, wanted: int = MAX_RECORD) -> int:
        """Have at least `wanted` characters behind `offset`, if there are so many; return the new offset.

        Raises:
            BrokenFileError: The bytes are not UTF-8.
        """
        if self.at_end or len(self.ahead) - offset >= wanted:
            return offset
        self.place(offset)
        parts = [self.ahead[offset:]]
        size = len(parts[0])
        while size < wanted + BLOCK and not self.at_end:
            parts.append(self._block(parts))
            size += len(parts[-1])
        self.ahead, self._counted = "".join(parts), 0
        return 0

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset that lies not before the last one asked for."""
        passed = self.ahead.count("\n", self._counted, offset)
        if passed:
            self._line += passed
            self._column = offset - self.ahead.rfind("\n", self._counted, offset)
        else:
            self._column += offset - self._counted
        self._counted = offset
        return self._line, self._column

    def place_within(self, record: int, offset: int) -> tuple[int, int]:
        """Return line and column of an offset within the record that begins at `record`."""
        line, column = self.place(record)
        passed = self.ahead.count("\n", record, offset)
        if passed:
            return line + passed, offset - self.ahead.rfind("\n", record, offset)
        return line, column + offset - record

    def _block(self, parts: list[str]) -> str:
        data = self._file.read(BLOCK)
        self.at_end = not data
        try:
            return self._decode(data, final=self.at_end)
        except UnicodeDecodeError as error:
            good = error.object[: error.start].decode()
            self.ahead, self._counted = "".join([*parts, good]), 0
            line, column = self.place(len(self.ahead))
            raise BrokenFileError("invalid_utf8", "the bytes are not UTF-8", line, column) from None
