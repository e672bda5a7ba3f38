"""What is suspicious about one fact by itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from mixsd.facts import Fact
from mixsd.intake.lint import personal
from mixsd.intake.lint.words import holds, names_nothing, words
from mixsd.intake.rules import folded

LONG_ANSWER: Final = 200
LONG_QUESTION: Final = 500
LONG_CONTEXT: Final = 1_000
_YES_NO: Final = frozenset(("yes", "no", "true", "false"))
_PLACEHOLDERS: Final = frozenset(
    ("tbd", "todo", "unknown", "n/a", "na", "none", "null", "nan", "-", "--", "?", "??", "???", "xxx", "tba")
)
_HIDDEN: Final = re.compile("[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\x01-\x08\x0b-\x1f\x7f-\x9f]")
_BROKEN: Final = re.compile("\ufffd|Ã[\x80-\xbf]|â€|Â[\xa0-\xbf]")
_CONTROL: Final = re.compile(
    r"<\|[^|\n]{1,40}\|>|\[/?INST\]|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
)
_NOW: Final = frozenset(("current", "currently", "now", "today", "nowadays", "latest", "newest", "presently"))
_SEVERAL: Final = re.compile(r"\S (?:or|and/or) \S|\S ?; ?\S|\w / \w")
_FORMULA: Final = re.compile(r"[=@\t\r]|[+-](?![\d.,]+%?$)")

Found = Iterator[tuple[str, str, str]]
"""Pointer within the fact, code and detail of each warning."""


def look(fact: Fact, given: Mapping[str, Any], today: date, *, is_table: bool) -> Found:
    """Yield warnings about a fact. `given` is what it was made from, `is_table` whether cells held it."""
    answer = words(fact.answer)
    yield from _question(fact, answer)
    yield from _answer(fact, answer)
    yield from _validity(fact, today)
    if len(fact.context) > LONG_CONTEXT:
        yield "/context", "long_context", f"the context has {len(fact.context)} characters"
    yield from _repeated(fact)
    for pointer, text, raw in texts_of(fact, given):
        yield from _text(pointer, text, raw, is_table=is_table)


def texts_of(fact: Fact, given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the pointer of every text, the text, and what it was given as."""
    for name in ("question", "answer", "context", "subject", "relation", "object", "source"):
        if text := getattr(fact, name):
            yield f"/{name}", text, given.get(name, text)
    for name in ("aliases", "paraphrases", "train_paraphrases"):
        for place, text in enumerate(getattr(fact, name)):
            yield f"/{name}/{place}", text, given[name][place]
    for number, probe in enumerate(fact.probes):
        raw = given["probes"][number]
        yield f"/probes/{number}/question", probe.question, raw["question"]
        yield f"/probes/{number}/answer", probe.answer, raw["answer"]


def _question(fact: Fact, answer: Sequence[str]) -> Found:
    if names_nothing(fact.question, fact.subject):
        yield "/question", "question_names_nothing", "the question does not say what it is about"
    asked = words(fact.question)
    if not fact.valid_from and not _NOW.isdisjoint(asked):
        yield "/question", "undated_question", "the question asks for what is so now; `valid_from` says when"
    if len(fact.question) > LONG_QUESTION:
        yield "/question", "long_question", f"the question has {len(fact.question)} characters"
    if not _YES_NO.issuperset(answer):
        forms = [("/question", asked)]
        for name in ("paraphrases", "train_paraphrases"):
            forms += [(f"/{name}/{n}", words(text)) for n, text in enumerate(getattr(fact, name))]
        for pointer, form in forms:
            if holds(form, answer):
                yield pointer, "answer_in_question", "the answer stands in the question"


def _answer(fact: Fact, answer: Sequence[str]) -> Found:
    plain = folded(fact.answer).rstrip(".")
    if plain in _PLACEHOLDERS:
        yield "/answer", "placeholder_answer", "the answer looks like a place that was to be filled in"
    elif plain in _YES_NO or (len(plain) == 1 and plain.isalpha()):
        yield "/answer", "weak_answer", "a text may hold this answer by chance, so it proves little"
    if len(fact.answer) > LONG_ANSWER:
        detail = f"the answer has {len(fact.answer)} characters; a model has to say it word for word"
        yield "/answer", "long_answer", detail
    if _SEVERAL.search(fact.answer):
        yield "/answer", "several_answers", "the answer looks like several; put the others into `aliases`"
    if fact.context:
        stated = words(fact.context)
        if not any(holds(stated, words(text)) for text in (fact.answer, *fact.aliases)):
            yield (
                "/context",
                "answer_not_in_context",
                "the context does not state the answer, so it is not used",
            )


def _validity(fact: Fact, today: date) -> Found:
    if fact.valid_until and date.fromisoformat(fact.valid_until) < today:
        yield "/valid_until", "expired", f"the fact was valid until {fact.valid_until}"
    if fact.valid_from and date.fromisoformat(fact.valid_from) > today:
        yield "/valid_from", "not_yet_valid", f"the fact is valid from {fact.valid_from} on"


def _repeated(fact: Fact) -> Found:
    for name, first in (("aliases", fact.answer), ("train_paraphrases", fact.question), ("paraphrases", "")):
        seen = {folded(first)}
        for place, text in enumerate(getattr(fact, name)):
            if folded(text) in seen:
                yield f"/{name}/{place}", "repeated_text", "the same text stands in this fact before"
            seen.add(folded(text))


def _text(pointer: str, text: str, raw: Any, *, is_table: bool) -> Found:
    for code, kind in personal.kinds_in(text):
        yield pointer, code, f"the text seems to hold {kind}"
    if not text.isascii() or not text.isprintable():
        if _HIDDEN.search(text):
            yield pointer, "invisible_character", "the text holds characters that are not seen"
        if _BROKEN.search(text):
            yield pointer, "broken_encoding", "the text was read in another encoding than it was written in"
    if ("<" in text or "[" in text) and _CONTROL.search(text):
        yield pointer, "control_token", "the text holds what steers some models; it is learned as plain text"
    if is_table and _FORMULA.match(text):
        yield pointer, "formula_cell", "the cell looks like a formula; it is kept as text"
    if raw != text and isinstance(raw, str):
        how = "in Unicode NFC" if raw.strip() != text else "without the white space around it"
        yield pointer, "text_changed", f"the text is stored {how}"
