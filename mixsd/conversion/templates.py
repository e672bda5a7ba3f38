"""How the relations of a graph are put into words: a mapping from their IRIs, in YAML or JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from mixsd.conversion.errors import ConversionError
from mixsd.strict_json import shown

SKIP: Final = "skip"
"""Stands for a relation that is left out on purpose."""
_SUBJECT: Final = "{subject}"
_OBJECT: Final = "{object}"
_FIELDS: Final = ("question", "statement", "paraphrases", "reversed")


@dataclass(frozen=True, slots=True)
class Template:
    """Wordings with `{subject}` and `{object}` in them.

    Attributes:
        question: Asks for the object.
        statement: Says both; the context of the fact.
        paraphrases: Ask for the object in other words.
        reversed: Asks for the subject.
    """

    question: str
    statement: str = ""
    paraphrases: tuple[str, ...] = ()
    reversed: str = ""


def filled(wording: str, *, subject: str, object_: str) -> str:
    """Put names in, once: a name that holds `{object}` is left as it is.

    Example:
        >>> filled("Is {object} of {subject}?", subject="{object}", object_="x")
        'Is x of {object}?'
    """
    parts = wording.split(_SUBJECT)
    return subject.join(part.replace(_OBJECT, object_) for part in parts)


def templates_in(path: Path) -> dict[str, Template | None]:
    """Read the templates of a file, by IRI; None of a relation that is left out.

    Raises:
        ConversionError: It cannot be read, or a template is none.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path.name}, line {mark.line + 1}" if mark else path.name
        raise ConversionError(f"{place}: {getattr(error, 'problem', None) or 'it is no YAML'}") from None
    if not isinstance(document, dict) or not document:
        raise ConversionError(
            f"{path.name}: expected a mapping from the IRIs of relations to their templates"
        )
    return {str(iri): _template(path.name, str(iri), value) for iri, value in document.items()}


def _template(name: str, iri: str, value: Any) -> Template | None:
    place = f"{name}: {shown(iri)}"
    if value == SKIP:
        return None
    if isinstance(value, str):
        value = {"question": value}
    if not isinstance(value, Mapping):
        raise ConversionError(f"{place}: expected a question, a mapping with `question`, or `{SKIP}`")
    if unknown := [str(key) for key in value if key not in _FIELDS]:
        raise ConversionError(f"{place}: {shown(unknown[0])} is none of {', '.join(_FIELDS)}")
    paraphrases = value.get("paraphrases") or []
    if not isinstance(paraphrases, list):
        raise ConversionError(f"{place}: `paraphrases` is no list of texts")
    return Template(
        question=_wording(place, "question", value.get("question"), asks=_SUBJECT),
        statement=_statement(place, value.get("statement")),
        paraphrases=tuple(_wording(place, "paraphrases", text, asks=_SUBJECT) for text in paraphrases),
        reversed=_wording(place, "reversed", value["reversed"], asks=_OBJECT)
        if value.get("reversed")
        else "",
    )


def _wording(place: str, field: str, text: Any, *, asks: str) -> str:
    """Check a question, which names one side and asks for the other."""
    other = _OBJECT if asks == _SUBJECT else _SUBJECT
    if not isinstance(text, str) or asks not in text:
        raise ConversionError(f"{place}: `{field}` must be a text with {asks} in it")
    if other in text:
        raise ConversionError(f"{place}: `{field}` asks for what {other} stands for, and must not say it")
    return text.strip()


def _statement(place: str, text: Any) -> str:
    if text is None:
        return ""
    if not isinstance(text, str) or _SUBJECT not in text or _OBJECT not in text:
        raise ConversionError(f"{place}: `statement` must be a text with {_SUBJECT} and {_OBJECT} in it")
    return text.strip()
