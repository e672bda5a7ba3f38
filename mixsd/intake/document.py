"""Reads a JSON document, a list of facts or an object with `facts`, of which one fact at a time is held."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, NoReturn

from mixsd import strict_json
from mixsd.intake.envelope import Envelope
from mixsd.intake.places import offset_of
from mixsd.intake.records import MAX_RECORD, BrokenFileError, Place, Record, Records
from mixsd.intake.sources import Text

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_TOO_LONG: Final = f"a fact, or another value of the document, has at most {MAX_RECORD} characters"


def records(file: BinaryIO, envelope: Envelope) -> Records:
    """Yield the records of a document, and what is wrong beside them.

    Raises:
        BrokenFileError: The bytes are no JSON that we take.
    """
    reader = _Reader(file)
    if reader.next() == "{":
        yield from _within_object(reader, envelope)
    elif reader.next() == "[":
        yield from _elements(reader, "")
    else:
        reader.value()
        yield envelope.no_list()
    if reader.next():
        reader.refuse("malformed_json", "Extra data")


def _within_object(reader: "_Reader", envelope: Envelope) -> Records:
    for _ in reader.items("{", "}"):
        if reader.next() != '"':
            reader.refuse("malformed_json", "Expecting property name enclosed in double quotes")
        begins = reader.offset
        name = reader.value()
        if problem := envelope.refuse_name(name):
            reader.refuse(*problem, offset=begins)
        reader.take(":", "Expecting ':' delimiter")
        if name == "facts" and reader.next() == "[":
            yield from _elements(reader, "/facts")
        else:
            reader.next()
            yield from envelope.take(name, reader.value(), reader.place)
    yield from envelope.missing()


def _elements(reader: "_Reader", prefix: str) -> Iterator[Record]:
    for number in reader.items("[", "]"):
        reader.next()
        place_of = reader.places()
        yield Record(reader.value(), None, f"{prefix}/{number}", place_of)


class _Reader:
    """Reads values one after another from a text that is seen through a window."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = Text(file)
        self.offset = 0
        self._began = 0
        self._decode = strict_json.DECODER.raw_decode

    @property
    def place(self) -> tuple[int, int]:
        """Line and column where the last value began."""
        return self._text.place_within(self._began, self._began)

    def places(self) -> Callable[[str], Place]:
        """Return what finds places within the value that comes now."""
        text, record = self._text, self.offset
        return lambda pointer: text.place_within(record, offset_of(text.ahead, record, pointer))

    def next(self) -> str:
        """Go to the next character that counts, and return it; empty at the end."""
        while True:
            self.offset = self._text.fill(self.offset)
            found = _SPACE.match(self._text.ahead, self.offset)
            self.offset = found.end() if found else self.offset
            if self.offset < len(self._text.ahead) or self._text.at_end:
                self.offset = self._text.fill(self.offset)
                return self._text.ahead[self.offset : self.offset + 1]

    def take(self, character: str, otherwise: str) -> None:
        if self.next() != character:
            self.refuse("malformed_json", otherwise)
        self.offset += 1

    def items(self, opening: str, closing: str) -> Iterator[int]:
        """Count the items between two brackets; the caller reads each before it asks for the next."""
        self.take(opening, f"Expecting '{opening}'")
        number = 0
        while number or self.next() != closing:
            yield number
            number += 1
            if self.next() == closing:
                break
            self.take(",", "Expecting ',' delimiter")
        self.offset += 1

    def value(self) -> Any:
        """Read the value that begins here."""
        ahead, begins = self._text.ahead, self.offset
        self._began = begins
        try:
            value, self.offset = self._decode(ahead, begins)
            if strict_json.may_hold_more(ahead, begins, self.offset):
                strict_json.inspect(value)
        except json.JSONDecodeError as error:
            if not self._text.at_end and ("Unterminated" in error.msg or error.pos > len(ahead) - 16):
                self.refuse("too_long", _TOO_LONG, offset=begins)
            self.refuse("malformed_json", error.msg, offset=error.pos)
        except strict_json.JsonProblem as error:
            self.refuse(error.code, error.detail, offset=begins)
        except RecursionError:
            self.refuse("json_too_deep", strict_json.TOO_DEEP, offset=begins)
        except ValueError:  # an integer with thousands of digits
            self.refuse("number_too_long", "a number has too many digits", offset=begins)
        if self.offset - begins > MAX_RECORD:
            self.refuse("too_long", _TOO_LONG, offset=begins)
        return value

    def refuse(self, code: str, detail: str, *, offset: int | None = None) -> NoReturn:
        """Give up, because of what stands at an offset in the value that was read last."""
        at = self.offset if offset is None else offset
        begins = min(at, self._began) if offset is not None else at
        line, column = self._text.place_within(begins, at)
        raise BrokenFileError(code, detail, line, column) from None
