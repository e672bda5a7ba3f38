"""Reads JSONL of conversations, as chat models are fine-tuned on: one `messages` a line becomes one fact.

The last turn, which is the assistant's, is the answer; the user's turn before it is the question; what
was said before those is the fact's context. What has no counterpart in a fact is a problem.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mixsd.facts import Problem
from mixsd.intake import lines
from mixsd.intake.records import Place, Record, Records
from mixsd.strict_json import shown

MAX_TURNS: Final = 64
"""Most messages of a conversation."""

_BEFORE: Final = ("system", "developer")
_ROLES: Final = (*_BEFORE, "user", "assistant")
_NAMES: Final = ("role", "content", "weight")

_Found = Iterator[tuple[str, str, str]]
"""Pointer, code and detail of each problem."""


def records(file: BinaryIO) -> Records:
    """Yield a record with `question`, `answer` and `context` for each line, and what is wrong with others.

    Raises:
        BrokenFileError: The file is not UTF-8 at all.
    """
    for record in lines.records(file):
        if isinstance(record, Problem):
            yield record
            continue
        found = list(_problems_of(record.value))
        for pointer, code, detail in found:
            line, column = record.place_of(pointer)
            yield Problem(code, detail, line=line, column=column, pointer=pointer or None)
        if not found:
            yield Record(_fact_of(record.value["messages"]), record.line, "", _Line(record.line))


class _Line:
    """The place of all that a fact has: texts of it come from several places of its line."""

    __slots__ = ("_line",)

    def __init__(self, line: int | None) -> None:
        self._line = line

    def __call__(self, pointer: str) -> Place:
        return self._line, None


def _problems_of(value: Any) -> _Found:
    """Yield all that is wrong with a line."""
    if not isinstance(value, dict):
        yield "", "wrong_type", "a line is an object with `messages`"
        return
    for name in value:
        if name != "messages":
            yield (
                "",
                "unsupported_field",
                f"{shown(name)} has no counterpart here: a line has `messages` alone",
            )
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "", "no_messages", "`messages` must be a list of the turns of a conversation"
        return
    if len(messages) > MAX_TURNS:
        yield "/messages", "too_many", f"there are {len(messages)} turns; at most {MAX_TURNS} are allowed"
        return
    wrong = [found for place, message in enumerate(messages) for found in _of_message(place, message)]
    yield from wrong or _of_roles(messages)


def _of_message(place: int, message: Any) -> _Found:
    pointer = f"/messages/{place}"
    if not isinstance(message, dict):
        yield pointer, "wrong_type", "a message is an object with `role` and `content`"
        return
    for name, value in message.items():
        if name not in _NAMES and value is not None:
            yield pointer, "unsupported_field", f"{shown(name)} of a message has no counterpart here"
    if message.get("role") not in _ROLES:
        yield pointer, "unsupported_role", f"`role` must be one of {', '.join(_ROLES)}"
    yield from _of_content(f"{pointer}/content", message.get("content"))
    weight = message.get("weight")
    is_good = type(weight) is int and weight in (0, 1) and message.get("role") == "assistant"
    if weight is not None and not is_good:
        yield f"{pointer}/weight", "bad_weight", "`weight` is 0 or 1, and stands at turns of the assistant"


def _of_content(pointer: str, content: Any) -> _Found:
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        yield pointer, "wrong_type", "`content` must be a text, or a list of parts of the type `text`"
        return
    for place, part in enumerate(content):
        is_text = isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        if not is_text or len(part) > 2:
            said = "only parts of the type `text` have a counterpart here: neither images nor audio nor files"
            yield f"{pointer}/{place}", "unsupported_part", said


def _of_roles(messages: list[dict[str, Any]]) -> _Found:
    """Yield what is wrong with the order of turns, and with what is to be learned of them."""
    *before, last = messages
    if last["role"] != "assistant":
        said = "there is no turn of the assistant, which would be the answer"
        if any(message["role"] == "assistant" for message in before):
            said = "the last turn must be the assistant's: it is the answer"
        yield "/messages", "no_answer", said
        return
    if not before or before[-1]["role"] != "user":
        yield "/messages", "no_question", "before the answer there must be a turn of the user: the question"
    if last.get("weight") == 0:
        said = (
            "the answer has the weight 0, and nothing else of a conversation is learned: leave the line out"
        )
        yield f"/messages/{len(before)}/weight", "bad_weight", said
    for place, message in enumerate(before):
        if message.get("weight") == 1:
            said = "only the last turn is learned: give this one a line of its own, or the weight 0"
            yield f"/messages/{place}/weight", "bad_weight", said


def _fact_of(messages: list[dict[str, Any]]) -> dict[str, str]:
    *before, question, answer = messages
    fact = {"question": _text(question), "answer": _text(answer)}
    if before:
        fact["context"] = "\n".join(map(_said, before))
    return fact


def _said(message: dict[str, Any]) -> str:
    text = _text(message)
    return text if message["role"] in _BEFORE else f"{message['role']}: {text}"


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
