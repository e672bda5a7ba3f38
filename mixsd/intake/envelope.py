"""What a document says beside its facts: a name, and nothing else."""

from typing import Any, Final

from mixsd.facts import Problem
from mixsd.intake.records import Records
from mixsd.strict_json import shown

MAX_NAME: Final = 200
"""Most characters of the name of a fact set."""
_MAX_NAMES: Final = 100_000
_NO_LIST: Final = "expected a list of facts, or an object with `facts`"


class Envelope:
    """The object around a list of facts, or nothing where there is only the list."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._names: set[str] = set()

    def refuse_name(self, name: str) -> tuple[str, str] | None:
        """Take note of a name. Return code and detail of why nothing can come of this document."""
        if name in self._names:
            return "duplicate_key", f"the key {shown(name)} is there twice"
        if len(self._names) >= _MAX_NAMES:
            return "too_many", f"the document has more than {_MAX_NAMES} fields"
        self._names.add(name)
        return None

    def no_list(self) -> Problem:
        return Problem("wrong_type", _NO_LIST, pointer="")

    def take(self, name: str, value: Any, place: tuple[int, int]) -> Records:
        """Take the value of a field that is no list of facts, or say what is wrong with it."""
        line, column = place
        if name == "facts":
            yield Problem("wrong_type", "expected a list of facts", line, column, "/facts")
        elif name != "name":
            pointer = "/" + name[:64].replace("~", "~0").replace("/", "~1")
            yield Problem("unknown_field", "there is no such field", line, column, pointer)
        elif not isinstance(value, str):
            yield Problem("wrong_type", "expected a text", line, column, "/name")
        elif not 0 < len(value) <= MAX_NAME:
            yield Problem("too_long", f"a name has 1 to {MAX_NAME} characters", line, column, "/name")
        else:
            self.name = value

    def missing(self) -> Records:
        """Say whether there was no list at all. To be asked at the end."""
        if "facts" not in self._names:
            yield Problem("missing_field", "`facts` is missing", pointer="/facts")
