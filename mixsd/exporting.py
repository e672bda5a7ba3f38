"""Supervision as other trainers read it: a chat a line. Nothing here loads torch."""

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from mixsd.errors import MixsdError
from mixsd.prompts import STYLES
from mixsd.supervision import Supervision


class ChatFormat(StrEnum):
    """How a chat is written.

    `chat` has `messages` with `role` and `content`, `prompt-completion` the same in two lists, of which
    the second is trained on, `sharegpt` has `conversations` with `from` and `value`.
    """

    CHAT = "chat"
    PROMPT_COMPLETION = "prompt-completion"
    SHAREGPT = "sharegpt"


class ExportError(MixsdError):
    """There is no supervision where it was looked for."""

    code: ClassVar[str] = "no_supervision"


def chat_of(question: str, text: str, form: ChatFormat) -> dict[str, Any]:
    """Return a question and what is trained to be said to it."""
    asked, said = {"role": "user", "content": question}, {"role": "assistant", "content": text}
    match form:
        case ChatFormat.CHAT:
            return {"messages": [asked, said]}
        case ChatFormat.PROMPT_COMPLETION:
            return {"prompt": [asked], "completion": [said]}
        case ChatFormat.SHAREGPT:
            return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": text}]}


def lines_of(bodies: Iterable[Mapping[str, Any]], form: ChatFormat, *, prompt_style: str) -> Iterator[str]:
    """Yield a line for each record that training takes. The question is put as training puts it.

    Args:
        bodies: Records as plain data.
        prompt_style: Of the method that the texts were made for.
    """
    style = STYLES[prompt_style]
    for body in bodies:
        record = Supervision.from_json(body)
        if record.trainable and record.text:
            chat = chat_of(style.naive_prompt(record.question), record.text, form)
            yield json.dumps(chat, ensure_ascii=False) + "\n"


def lines_of_run(folder: Path, form: ChatFormat) -> Iterator[str]:
    """Yield the lines of a run of the library.

    Raises:
        ExportError: The folder holds no supervision that is whole. Raised here, not from the iterator.
    """
    settings, records = folder / "settings.json", folder / "supervision.jsonl"
    try:
        method = json.loads(settings.read_bytes())["method"]
        bodies = [json.loads(line) for line in records.read_bytes().splitlines()]
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise ExportError(
            f"{folder} has no {name}: it is no folder of a run, or `mixsd generate` has not ended"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder} is no folder of a run: {error}") from error
    return lines_of(bodies, form, prompt_style=method.get("prompt_style", "natural"))
