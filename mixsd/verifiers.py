"""Does a text give the right answer? The verifiers, by name."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mixsd.answers import contains, last_boxed, last_number, normalise
from mixsd.stated import is_stated

_REGEX_SECONDS: Final = 1.0

Verifier = Callable[[str, Sequence[str]], bool]
"""Takes a text and the answers that count, the first being the main one."""


def _by_contains(text: str, answers: Sequence[str]) -> bool:
    return any(contains(text, answer) for answer in answers)


def _by_exact(text: str, answers: Sequence[str]) -> bool:
    return any(_equal(text, answer) for answer in answers)


def _equal(text: str, answer: str) -> bool:
    wanted = normalise(answer)
    if not wanted:  # punctuation alone
        return text.strip() == answer.strip()
    return normalise(text) == wanted


def _by_extraction(extract: Callable[[str], str | None]) -> Verifier:
    """Compare what is extracted from the text with the answers, which may be written either way."""

    def verify(text: str, answers: Sequence[str]) -> bool:
        found = extract(text)
        return found is not None and any(found in {answer.strip(), extract(answer)} for answer in answers)

    return verify


def _boxed_or_last_number(text: str) -> str | None:
    boxed = last_boxed(text)
    return last_number(text) if boxed is None else boxed


_VERIFIERS: Final[Mapping[str, Verifier]] = MappingProxyType(
    {
        "contains": _by_contains,
        "contains_strict": is_stated,
        "exact": _by_exact,
        "boxed": _by_extraction(last_boxed),
        "boxed_or_last_number": _by_extraction(_boxed_or_last_number),
        "last_number": _by_extraction(last_number),
    }
)


def verifier(name: str, pattern: str = "") -> Verifier:
    """Return the verifier called `name`: one of `mixsd.config.VERIFIERS`.

    `regex` searches for `pattern` with `{answer}` replaced by each answer, case folded. A search
    that takes over a second counts as no match, since patterns come from users; so does one that
    is no pattern with this answer in it.
    """
    if name != "regex":
        return _VERIFIERS[name]

    import regex  # noqa: PLC0415  comes with transformers; the API does without

    def verify(text: str, answers: Sequence[str]) -> bool:
        for answer in answers:
            wanted = pattern.replace("{answer}", regex.escape(answer))
            try:
                if regex.search(wanted, text, regex.IGNORECASE, timeout=_REGEX_SECONDS):
                    return True
            except (TimeoutError, regex.error):
                continue
        return False

    return verify
