"""What a row of each data set must hold: that of the Hub, or a plain form with `choices` and `gold`.

Each reader returns the row as the Hub has it, since that is what the prompts of lm-evaluation-harness
are made from. Texts are kept as they stand, white space included.
"""

import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, Final

from mixsd.corpora.entries import Entry

Row = dict[str, Any]
"""An item; `id` names it."""

_GSM8K_GOLD: Final = re.compile(r"####\s*-?[0-9][0-9.,]*\s*$")


def arc(entry: Entry) -> Row:
    """Read `question`, `choices` with `text` and `label`, `answerKey`; or `choices` as a list, `gold`.

    Raises:
        CorpusError: A field is missing or wrong; so with all readers here.
    """
    question = _text(entry, "question")
    if not isinstance(entry.get("choices"), Mapping):
        options, gold = _plain_choices(entry, "choices")
        labels = list(ascii_uppercase[: len(options)])
        return {
            "question": question,
            "choices": {"text": options, "label": labels},
            "answerKey": labels[gold],
        }
    options, labels = _texts(entry, "choices.text"), _texts(entry, "choices.label")
    if len(options) != len(labels):
        raise entry.wrong("choices.label", f"has {len(labels)} labels for {len(options)} choices")
    key = _text(entry, "answerKey")
    if key not in labels:
        raise entry.wrong("answerKey", f"is {key!r}, none of {', '.join(labels)}")
    return {"question": question, "choices": {"text": options, "label": labels}, "answerKey": key}


def piqa(entry: Entry) -> Row:
    """Read `goal`, `sol1`, `sol2`, `label`; or `goal`, two `choices`, `gold`."""
    goal = _text(entry, "goal")
    if entry.has("choices"):
        options, gold = _plain_choices(entry, "choices", count=2)
    else:
        options = [_text(entry, "sol1"), _text(entry, "sol2")]
        gold = _place(entry, "label", 2)
    return {"goal": goal, "sol1": options[0], "sol2": options[1], "label": gold}


def hellaswag(entry: Entry) -> Row:
    """Read `activity_label`, `ctx_a`, `ctx_b`, four `endings`, and `label` or `gold`."""
    endings = _texts(entry, "endings", count=4)
    gold = _place(entry, "label" if entry.has("label") else "gold", 4)
    return {
        "activity_label": _text(entry, "activity_label"),
        "ctx_a": _text(entry, "ctx_a"),
        "ctx_b": _text(entry, "ctx_b", blank=True),
        "endings": endings,
        "label": str(gold),
    }


def lambada(entry: Entry) -> Row:
    """Read `text`, whose last word is asked for; or `context` and `target`."""
    if entry.has("text"):
        text = _text(entry, "text")
        if not text.rpartition(" ")[2].strip() or " " not in text:
            raise entry.wrong("text", "does not end with a word behind a space")
        return {"text": text}
    target = _text(entry, "target")
    if " " in target:
        raise entry.wrong("target", f"is {target!r}, not a single word")
    return {"text": f"{_text(entry, 'context').rstrip()} {target}"}


def wikitext(entry: Entry) -> Row:
    """Read `page`."""
    return {"page": _text(entry, "page")}


def mmlu(entry: Entry) -> Row:
    """Read `question`, `subject`, four `choices`, and `answer` or `gold`."""
    subject = _text(entry, "subject")
    if not re.fullmatch(r"[a-z0-9_]+", subject):
        raise entry.wrong("subject", f"is {subject!r}: expected a name such as college_biology")
    return {
        "question": _text(entry, "question"),
        "subject": subject,
        "choices": _texts(entry, "choices", count=4),
        "answer": _place(entry, "answer" if entry.has("answer") else "gold", 4),
    }


def gsm8k(entry: Entry) -> Row:
    """Read `question` and `answer`, which ends with `#### NUMBER`."""
    answer = _text(entry, "answer")
    if not _GSM8K_GOLD.search(answer):
        raise entry.wrong("answer", "does not end with `#### NUMBER`")
    return {"question": _text(entry, "question"), "answer": answer}


def math500(entry: Entry) -> Row:
    """Read `problem` and `answer`."""
    return {"problem": _text(entry, "problem"), "answer": _text(entry, "answer").strip()}


def aime(entry: Entry) -> Row:
    """Read `problem` and `answer`, a whole number from 0 to 999."""
    answer = entry.get("answer")
    if not re.fullmatch(r"[0-9]{1,3}", str(answer).strip()) or isinstance(answer, bool):
        raise entry.wrong("answer", f"is {answer!r}, no whole number from 0 to 999")
    return {"problem": _text(entry, "problem"), "answer": str(int(answer))}


def humaneval(entry: Entry) -> Row:
    """Read `prompt`, `entry_point`, which it defines, and `test`, which defines `check`."""
    prompt, test, name = _text(entry, "prompt"), _text(entry, "test"), _text(entry, "entry_point")
    if f"def {name}(" not in prompt:
        raise entry.wrong("entry_point", f"is {name!r}, which the prompt does not define")
    if "def check(" not in test:
        raise entry.wrong("test", "defines no function `check`")
    try:
        compile(test, "test", "exec")
    except (SyntaxError, ValueError) as error:
        raise entry.wrong("test", f"is no Python: {error}") from None
    return {"prompt": prompt, "entry_point": name, "test": test}


def _text(entry: Entry, name: str, *, blank: bool = False) -> str:
    value = entry.get(name)
    if value is None:
        raise entry.wrong(name, "is missing")
    if not isinstance(value, str):
        raise entry.wrong(name, f"is no text but {type(value).__name__}")
    if not value.strip() and not blank:
        raise entry.wrong(name, "is blank")
    return value


def _texts(entry: Entry, name: str, *, count: int | None = None) -> list[str]:
    value = entry.get(name)
    if value is None:
        raise entry.wrong(name, "is missing")
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise entry.wrong(name, "is no list of texts")
    if len(value) != count if count else len(value) < 2:
        raise entry.wrong(name, f"has {len(value)} texts, not {count or 'two or more'}")
    return value


def _plain_choices(entry: Entry, name: str, *, count: int | None = None) -> tuple[list[str], int]:
    options = _texts(entry, name, count=count)
    return options, _place(entry, "gold", len(options))


def _place(entry: Entry, name: str, count: int) -> int:
    """Return the right choice's place from 0, which the Hub may give as a text."""
    value = entry.get(name)
    if value is None or value == "":
        raise entry.wrong(name, "is missing: a split without answers cannot be scored")
    text = str(value).strip()
    if isinstance(value, bool | float) or not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise entry.wrong(name, f"is {value!r}, no place of a choice, counted from 0")
    if not 0 <= int(text) < count:
        raise entry.wrong(name, f"is {text}, but there are {count} choices, 0 to {count - 1}")
    return int(text)
