"""Chats as OpenAI writes them, and as ShareGPT does: the last answer is taught, the rest is its context."""

from collections.abc import Mapping
from typing import Any, Final

from mixsd.corpora.entries import Entry
from mixsd.corpora.imports import Item
from mixsd.facts import MAX_TEXT, Fact

_ROLES: Final = ("system", "developer", "user", "assistant")
_SHAREGPT: Final[Mapping[str, str]] = {"human": "user", "gpt": "assistant"}
_SPEAKERS: Final[Mapping[str, str]] = {"user": "User: ", "assistant": "Assistant: "}


def chat_item(entry: Entry, long: list[str]) -> Item:
    """Make a fact of a chat. The place of a context that is too long for it goes to `long`.

    Raises:
        CorpusError: A turn is none that is read, or the chat does not end with a question and its answer.
    """
    turns = _turns(entry)
    name = "messages" if entry.has("messages") else "conversations"
    if turns[-1][0] != "assistant":
        raise entry.wrong(name, "must end with what the assistant answers, which is what is taught")
    if len(turns) < 2 or turns[-2][0] != "user":
        raise entry.wrong(name, "must ask something right before the last answer")
    context = "\n".join(_SPEAKERS.get(role, "") + text for role, text in turns[:-2])
    if len(context) > MAX_TEXT:
        long.append(entry.place)
        context = ""
    return Item(
        Fact(
            key=f"chat-{entry.number}",
            question=entry.said(f"{name}.{len(turns) - 2}", turns[-2][1]),
            answer=entry.said(f"{name}.{len(turns) - 1}", turns[-1][1]),
            context=context,
            source="chat",
        )
    )


def _turns(entry: Entry) -> list[tuple[str, str]]:
    """Return roles and texts."""
    if entry.has("messages"):
        return [
            (_role(entry, place, message.get("role")), _text(entry, place, message))
            for place, message in enumerate(entry.objects("messages"))
        ]
    turns = []
    for place, message in enumerate(entry.objects("conversations")):
        name = f"conversations.{place}"
        role = message.get("from")
        role = _SHAREGPT.get(role, role) if isinstance(role, str) else role
        if role not in _ROLES:
            raise entry.wrong(f"{name}.from", "is none of human, gpt, system")
        if not isinstance(message.get("value"), str):
            raise entry.wrong(f"{name}.value", "is no text")
        turns.append((role, message["value"].strip()))
    return turns


def _role(entry: Entry, place: int, role: Any) -> str:
    if role not in _ROLES:
        raise entry.wrong(
            f"messages.{place}.role", f"is none of {', '.join(_ROLES)}: chats with tools are not read"
        )
    return str(role)


def _text(entry: Entry, place: int, message: Mapping[str, Any]) -> str:
    """Return what a message says, which may come in parts."""
    name, content = f"messages.{place}.content", message.get("content")
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        raise entry.wrong(name, "is no text")
    texts = []
    for number, part in enumerate(content):
        said = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(said, str):
            raise entry.wrong(f"{name}.{number}", "is no text: pictures, sound and files are not read")
        texts.append(said)
    return "".join(texts).strip()
