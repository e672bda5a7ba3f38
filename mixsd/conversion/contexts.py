"""JSON-LD without the network: a context that lies elsewhere is one that was given, or is refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mixsd.conversion.errors import ConversionError
from mixsd.strict_json import JsonProblem, decode, shown

_CONTEXT: Final = "@context"
_IMPORT: Final = "@import"


def files_from(words: Sequence[str]) -> dict[str, Path]:
    """Read `ADDRESS=FILE` words.

    Raises:
        ConversionError: One is no such word.
    """
    files = {}
    for word in words:
        address, equals, file = word.rpartition("=")
        if not equals or not address or not file:
            raise ConversionError(f"--context {shown(word)}: expected ADDRESS=FILE")
        files[address] = Path(file)
    return files


def offline(path: Path, given: Mapping[str, Path]) -> Any:
    """Return a document in which nothing points to a context elsewhere.

    Raises:
        ConversionError: It is no JSON, or points to a context that was not given.
    """
    return _Contexts(path.name, given).within(_decoded(path), "")


def _decoded(path: Path) -> Any:
    try:
        return decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}") from error
    except JsonProblem as error:
        place = f", line {error.line}, column {error.column}" if error.line else ""
        raise ConversionError(f"{path.name}{place}: {error}") from None


class _Contexts:
    """Puts contexts that were given in the place of their addresses."""

    def __init__(self, name: str, given: Mapping[str, Path], above: frozenset[str] = frozenset()) -> None:
        self._name, self._given, self._above = name, given, above

    def within(self, value: Any, pointer: str) -> Any:
        """Return a value, with every context in it, however deep, replaced or refused."""
        if isinstance(value, list):
            return [self.within(item, f"{pointer}/{place}") for place, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if _IMPORT in value:
            raise ConversionError(
                f"{self._name}: {pointer}/{_IMPORT}: nothing is imported: write it into the document"
            )
        return {
            key: self._context(item, f"{pointer}/{key}")
            if key == _CONTEXT
            else self.within(item, f"{pointer}/{key}")
            for key, item in value.items()
        }

    def _context(self, value: Any, pointer: str) -> Any:
        if isinstance(value, list):
            return [self._context(item, f"{pointer}/{place}") for place, item in enumerate(value)]
        if not isinstance(value, str):
            return self.within(value, pointer)
        file = self._given.get(value)
        if file is None or value in self._above:
            raise self._refused(value, pointer)
        document = _decoded(file)
        if not isinstance(document, dict) or _CONTEXT not in document:
            raise ConversionError(f"{file.name}: a context is an object with `{_CONTEXT}`")
        inner = _Contexts(file.name, self._given, self._above | {value})
        return inner._context(document[_CONTEXT], f"/{_CONTEXT}")

    def _refused(self, address: str, pointer: str) -> ConversionError:
        return ConversionError(
            f"{self._name}: {pointer}: the context {shown(address)} lies elsewhere, and nothing is fetched: "
            "write it into the document, or give a copy with --context ADDRESS=FILE"
        )
