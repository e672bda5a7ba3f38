"""Counts tokens as the model's own tokenizer and chat template make them, without loading a model."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from mixsd.errors import ModelError

TOKENIZER: Final = "tokenizer.json"
_CONFIG: Final = "tokenizer_config.json"
_TEMPLATE: Final = "chat_template.jinja"
_PROBES: Final = (
    "What is it?",
    "1783",
    "ß",
    "日本 🎈",
    '"So."',
    "in two\n\nlines",
    "a",
    "(b)",
    "\u00c9t\u00e9",
)
"""Texts that a tokenizer would join with what stands around them, if it does so at all."""
_CHARACTERS: Final = 3.5
"""Characters of a token where nothing is known of the tokenizer. English text has four or five."""
_AROUND: Final = 24
"""Tokens that a template puts around a question, likewise."""


class Chat(Protocol):
    """Counts tokens. `counted_by` says how; `sums` keeps those of texts that never change, by a name."""

    @property
    def counted_by(self) -> str: ...

    @property
    def sums(self) -> dict[str, int]: ...

    def prompts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has as a user turn, with all that the template adds."""
        ...

    def plain(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself."""
        ...


class ByCharacters:
    """Guesses from the length of texts. For models that are not on disk."""

    counted_by = "characters"

    def __init__(self) -> None:
        self.sums: dict[str, int] = {}

    def prompts(self, texts: Sequence[str]) -> list[int]:
        return [_AROUND + count for count in self.plain(texts)]

    def plain(self, texts: Sequence[str]) -> list[int]:
        return [max(1, round(max(len(text), len(text.encode()) / 2) / _CHARACTERS)) for text in texts]


class ByTokenizer:
    """Counts with the tokenizer and the template of a model on disk.

    A control token that is spelled out in a fact counts as one, which is off by a few tokens.
    """

    counted_by = "tokenizer"

    def __init__(self, folder: Path) -> None:
        """Read a model's folder.

        Raises:
            ModelError: Tokenizer or template cannot be used.
        """
        self._tokenizer = _tokenizer(folder)
        self._render = _renderer(folder)
        self.sums: dict[str, int] = {}
        self._added = self._find_added()

    def prompts(self, texts: Sequence[str]) -> list[int]:
        if self._added is not None:
            return [self._added + length for length in self.plain(texts)]
        return self.plain([self._render(text) for text in texts])

    def _find_added(self) -> int | None:
        """Return how many tokens the template adds to every text; None if it depends on the text."""
        whole = self.plain([self._render(text) for text in _PROBES])
        added = {both - alone for both, alone in zip(whole, self.plain(_PROBES), strict=True)}
        return added.pop() if len(added) == 1 else None

    def plain(self, texts: Sequence[str]) -> list[int]:
        lengths = {
            text: len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in set(texts)
        }
        return [lengths[text] for text in texts]


@lru_cache(maxsize=2)
def _by_tokenizer(folder: Path) -> ByTokenizer | None:
    """Keep the tokenizers used last: they are slow to read, and what lies in a folder never changes."""
    try:
        return ByTokenizer(folder)
    except (ModelError, OSError, UnicodeDecodeError):
        return None


def chat_of(folder: Path | None) -> Chat:
    """Return what counts the tokens of a model; by characters if its folder is not there or unusable."""
    found = None if folder is None else _by_tokenizer(folder)
    return found or ByCharacters()


def template_of(folder: Path) -> str | None:
    """Return a model's chat template, if it has one.

    Raises:
        ModelError: A file of it cannot be read.
    """
    if (folder / _TEMPLATE).is_file():
        return (folder / _TEMPLATE).read_text(encoding="utf-8") or None
    return template_in(_object(folder / _CONFIG))


def template_in(config: dict[str, Any]) -> str | None:
    """Return the chat template that a tokenizer's settings hold: the one called `default` of several."""
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) and found else None


def _tokenizer(folder: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{TOKENIZER} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class _Renderer:
    def __init__(self, template: str, names: dict[str, Any]) -> None:
        self._template = _environment().from_string(template)
        self._names = names

    def __call__(self, user: str) -> str:
        """Return the chat in which the user has said `user`, as text."""
        try:
            return self._template.render(
                messages=[{"role": "user", "content": user}],
                add_generation_prompt=True,
                enable_thinking=False,
                **self._names,
            )
        except Exception as error:
            raise ModelError(f"the chat template cannot be used: {error}") from error


def _renderer(folder: Path) -> _Renderer:
    template = template_of(folder)
    if template is None:
        raise ModelError("there is no chat template")
    config = _object(folder / _CONFIG)
    names = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        token = config.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            names[name] = token
    try:
        return _Renderer(template, names)
    except jinja2.TemplateError as error:
        raise ModelError(f"the chat template cannot be used: {error}") from error


class _Generation(Extension):
    """Templates mark with this tag what the model says; to count tokens it means nothing."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """Return templates' surroundings: a sandbox, since they come with the model."""

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now(UTC).strftime(form)
    return environment


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is no JSON") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} holds no JSON object")
    return value
