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
        self.is_wrong = False
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
        self.is_wrong = True
        return Problem("wrong_type", _NO_LIST, pointer="")

    def take(self, name: str, value: Any, place: tuple[int, int]) -> Records:
        """Take the value of a field that is no list of facts, or say what is wrong with it."""
        problem = self._wrong(name, value)
        if problem is not None:
            code, detail, pointer = problem
            self.is_wrong = True
            yield Problem(code, detail, *place, pointer)
        elif isinstance(value, str):
            self.name = value

    def _wrong(self, name: str, value: Any) -> tuple[str, str, str] | None:
        if name == "facts":
            return "wrong_type", "expected a list of facts", "/facts"
        if name != "name":
            pointer = "/" + name[:64].replace("~", "~0").replace("/", "~1")
            return "unknown_field", "there is no such field", pointer
        if value is None:
            return None
        if not isinstance(value, str):
            return "wrong_type", "expected a text", "/name"
        if not 0 < len(value) <= MAX_NAME:
            return "too_long", f"a name has 1 to {MAX_NAME} characters", "/name"
        return None

    def missing(self) -> Records:
        """Say whether there was no list at all. To be asked at the end."""
        if "facts" not in self._names:
            self.is_wrong = True
            yield Problem("missing_field", "`facts` is missing", pointer="/facts")
