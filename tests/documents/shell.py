"""Shell as documents write it: blocks, what they need, and the simple commands in them. Nothing is run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

SUBSTITUTED = "SUBSTITUTED"
"""Stands for what `$(...)` would give."""
_FENCE = re.compile(r"(?:<!-- needs: ([^>]+?) -->\n)?```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_HEREDOC = re.compile(r"<<'?(\w+)'?([^\n]*)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(r"^(\w+)\(\) \{ (.*); \}$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
_WORDS = {"until", "while", "if", "then", "else", "do", "done", "fi", "!"}
_REDIRECTION = re.compile(r"\d?(>>?|<)(&\d)?")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of shell.

    Attributes:
        needs: What it takes that not every machine has, as the comment before it says; else empty.
    """

    text: str
    needs: str
    line: int


def blocks_of(document: str) -> list[Block]:
    return [
        Block(found[2], found[1] or "", document.count("\n", 0, found.start(2)))
        for found in _FENCE.finditer(document)
    ]


def commands_in(script: str) -> list[list[str]]:
    """Return the simple commands of a script as words, those within `$(...)` as well.

    Assignments and redirections are left out, and so are the bodies of here-documents.
    Of what is assigned alone, the assignment stays: `["NAME=value"]`.

    Example:
        >>> commands_in('A=$(f x | g "a b") && h > o # why')
        [['f', 'x'], ['g', 'a b'], ['A=SUBSTITUTED'], ['h']]
    """
    script = _HEREDOC.sub(lambda found: f"{found[2]}\n", script)
    functions = [found[2] for found in _FUNCTION.finditer(script)]
    script = _FUNCTION.sub("", script).replace("\\\n", " ")
    found = [command for body in functions for command in commands_in(body)]
    inner: list[list[str]] = []
    for text in _simple(script, inner):
        if words := _words(text):
            found += [*inner, words]
        else:
            found += inner
        inner.clear()
    return found


def functions_in(script: str) -> set[str]:
    """Return the names of the functions that a script defines."""
    return {found[1] for found in _FUNCTION.finditer(script)}


def _simple(script: str, inner: list[list[str]]) -> Iterator[str]:
    """Yield the texts of simple commands; commands of `$(...)` in them go to `inner`."""
    piece, quote, place = "", "", 0
    while place < len(script):
        character = script[place]
        if quote != "'" and script.startswith("$(", place):
            end = _closing(script, place + 2)
            inner += commands_in(script[place + 2 : end])
            piece += SUBSTITUTED
            place = end + 1
            continue
        if character == "\\" and quote != "'":
            piece += script[place : place + 2]
            place += 2
            continue
        if character in "'\"":
            quote = "" if quote == character else quote or character
        elif not quote and character == "#" and (not piece or piece[-1].isspace()):
            place = (script.find("\n", place) + 1 or len(script) + 1) - 1
            continue
        elif not quote and character in "\n|;&":
            yield piece
            piece, place = "", place + 1
            continue
        piece += character
        place += 1
    yield piece


def _closing(script: str, place: int) -> int:
    """Return where the bracket closes that is open at `place`."""
    depth, quote = 1, ""
    while True:
        character = script[place]
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        elif not quote:
            depth += (character == "(") - (character == ")")
            if not depth:
                return place
        place += 1


def _words(text: str) -> list[str]:
    """Return the words of a simple command without keywords, redirections and assignments before it."""
    kept: list[str] = []
    words = iter(shlex.split(text))
    for word in words:
        if _REDIRECTION.fullmatch(word):
            next(words, None)
        elif kept or word not in _WORDS:
            kept.append(word)
    while len(kept) > 1 and _ASSIGNMENT.fullmatch(kept[0]):
        del kept[0]
    return kept
