"""Reads YAML: a list of facts, or a mapping with `facts`. Fact by fact, as the parser comes to them.

Every plain word is a text: `no`, `1e3` and `2026-11-24` stay what they are. Anchors, aliases and
tags are refused, so nothing grows and nothing is constructed.
"""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NoReturn

from mixsd.intake.envelope import Envelope
from mixsd.intake.records import MAX_RECORD, BrokenFileError, Place, Record, Records
from mixsd.intake.sources import Text
from mixsd.strict_json import MAX_DEPTH, TOO_DEEP, JsonProblem, inspect, shown, unique

MAX_YAML: Final = 32_000_000
"""Most bytes of a file: a text is held whole by the parser, however long it is."""
_TOO_LARGE: Final = f"a YAML file has at most {MAX_YAML} bytes; send JSONL, which has no such limit"
_TOO_LONG: Final = f"a fact has at most {MAX_RECORD} characters"


def records(file: BinaryIO, envelope: Envelope) -> Records:
    """Yield the records of a document, and what is wrong beside them.

    Raises:
        BrokenFileError: It is no YAML that we take.
    """
    import yaml  # noqa: PLC0415  it takes time, and only this format needs it

    if file.seek(0, os.SEEK_END) > MAX_YAML:
        raise BrokenFileError("file_too_large", _TOO_LARGE)
    try:
        yield from _document(_Events(file), envelope)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        detail = str(error.problem or "it is no YAML")
        place = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise BrokenFileError("malformed_yaml", detail, *place) from None
    except yaml.YAMLError:
        raise BrokenFileError("malformed_yaml", "it holds a character that YAML does not allow") from None


def _document(events: "_Events", envelope: Envelope) -> Records:
    kind = events.take()
    if kind == "SequenceStart":
        yield from _elements(events, "")
    elif kind == "MappingStart":
        while events.take() != "MappingEnd":
            place = events.place
            name = events.name()
            if problem := envelope.refuse_name(name):
                events.refuse(*problem)
            if events.take() == "SequenceStart" and name == "facts":
                yield from _elements(events, "/facts")
            else:
                yield from envelope.take(name, events.value(_Places()), place)
        yield from envelope.missing()
    elif kind and events.value(_Places()):
        yield envelope.no_list()
    events.end()


def _elements(events: "_Events", prefix: str) -> Iterator[Record]:
    number = 0
    while events.take() != "SequenceEnd":
        places = _Places()
        line, _ = events.place
        yield Record(events.value(places), line, f"{prefix}/{number}", places)
        number += 1


class _Places:
    """Where everything in a value stands."""

    def __init__(self) -> None:
        self.known: dict[str, Place] = {}

    def __call__(self, pointer: str) -> Place:
        while pointer not in self.known and pointer:
            pointer = pointer.rpartition("/")[0]
        return self.known.get(pointer, (None, None))


class _Events:
    """Events of a parser, of which each is looked at once."""

    def __init__(self, file: BinaryIO) -> None:
        import yaml  # noqa: PLC0415  as above

        source = _Source(Text(file))
        self._events = iter(yaml.parse(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        self._event: Any = None
        self._kind = ""
        self._room = 0

    def take(self) -> str:
        """Go to the next event that says something, and return its kind; empty at the end of the document."""
        self._event = next(self._events)
        self._kind = type(self._event).__name__.removesuffix("Event")
        if self._kind in {"StreamStart", "DocumentStart"}:
            return self.take()
        if self._kind == "Alias" or getattr(self._event, "anchor", None):
            self.refuse("yaml_alias", "anchors and aliases are not read; write the text out")
        if getattr(self._event, "tag", None) not in {None, "!"}:
            self.refuse("yaml_tag", f"the tag {shown(self._event.tag)} is not read")
        return "" if self._kind in {"DocumentEnd", "StreamEnd"} else self._kind

    @property
    def place(self) -> tuple[int, int]:
        """Line and column of the event."""
        mark = self._event.start_mark
        return mark.line + 1, mark.column + 1

    def name(self) -> str:
        """Return the event as the name of a field."""
        if self._kind != "Scalar":
            self.refuse("wrong_type", "the name of a field must be a text")
        return str(self._event.value)

    def value(self, places: _Places) -> Any:
        """Return the value that begins with the event."""
        self._room = MAX_RECORD
        begins = self.place
        try:
            value = self._value("", places, MAX_DEPTH)
            inspect(value)
        except JsonProblem as error:
            raise BrokenFileError(error.code, error.detail, *begins) from None
        return value

    def _value(self, pointer: str, places: _Places, depth: int) -> Any:
        if depth < 0:
            self.refuse("json_too_deep", TOO_DEEP)
        places.known.setdefault(pointer, self.place)
        self._spend(1)
        if self._kind == "Scalar":
            self._spend(len(self._event.value))
            return self._event.value
        if self._kind == "SequenceStart":
            values: list[Any] = []
            while self.take() != "SequenceEnd":
                values.append(self._value(f"{pointer}/{len(values)}", places, depth - 1))
            return values
        pairs: list[tuple[str, Any]] = []
        while self.take() != "MappingEnd":
            name = self.name()
            self._spend(len(name))
            within = f"{pointer}/{name[:64].replace('~', '~0').replace('/', '~1')}"
            places.known.setdefault(within, self.place)
            self.take()
            pairs.append((name, self._value(within, places, depth - 1)))
        return unique(pairs)

    def _spend(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0:
            self.refuse("too_long", _TOO_LONG)

    def end(self) -> None:
        """Go to the end, where nothing more may come."""
        while self._kind != "StreamEnd":
            self._event = next(self._events)
            self._kind = type(self._event).__name__.removesuffix("Event")
            if self._kind == "DocumentStart":
                self.refuse("malformed_yaml", "there is a second document")

    def refuse(self, code: str, detail: str) -> NoReturn:
        raise BrokenFileError(code, detail, *self.place)


class _Source:
    """Text as the parser asks for it."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._offset = 0

    def read(self, size: int = -1) -> str:
        self._offset = self._text.fill(self._offset)
        given = self._text.ahead[self._offset : None if size < 0 else self._offset + size]
        self._offset += len(given)
        return given
