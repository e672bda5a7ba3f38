"""Pages that are made from what the program says of itself."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

import app.main  # noqa: F401  which loads every error
from app.errors import AppError
from app.settings_table import settings_table
from app.web.problems import STATUS
from app.webhooks.states import TYPES
from docs_site.events import MEANINGS
from mixsd.cli import cli

ROOT: Final = Path(__file__).parents[1]
_VERBS: Final = ("get", "post", "put", "patch", "delete")


def settings() -> str:
    """Return the page of settings."""
    about = "From the environment or from a file `.env`. Times are seconds."
    return f"# Settings\n\n{about}\n\n{settings_table()}\n"


def events() -> str:
    """Return the page of events."""
    rows = [f"| `{name}` | {MEANINGS[name]} |" for name in sorted(TYPES)]
    about = "[Live](../live.md#events) says how to read them, [webhooks](../webhooks.md) how to be told."
    return f"# Events\n\n{about}\n\n| type | says that |\n|---|---|\n" + "\n".join(rows) + "\n"


def errors() -> str:
    """Return the page of error codes."""
    rows = [
        f"| `{kind.code}` | {_status(kind)} | {_line(kind.__doc__)} |"
        for kind in sorted(_kinds(AppError), key=lambda kind: kind.code)
    ]
    return (
        "# Error codes\n\nEvery failure is a problem document (`application/problem+json`) with a `code`.\n"
        "Codes of facts stand in [facts](../facts.md#errors), those of jobs that failed in "
        "[runbooks](../runbooks.md).\n\n| code | status | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def commands() -> str:
    """Return the page of the command line."""
    parts = ["# Commands\n"]
    for path, command in every_command():
        parts.append(f"## {path}\n\n{_paragraphs(command.help)}\n")
        usage = " ".join(_argument(each) for each in command.params if each.param_type_name == "argument")
        parts.append(
            f"```text\n{path} {'[OPTIONS] ' if _options(command) else ''}{usage}".rstrip() + "\n```\n"
        )
        if options := _options(command):
            rows = "\n".join(map(_option, options))
            parts.append(f"| option | default | what it is |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def every_command() -> Iterator[tuple[str, TyperCommand]]:
    """Yield each command with the words that call it."""
    yield from _within("mixsd", typer.main.get_command(cli))


def api() -> str:
    """Return the page of the REST API."""
    document = json.loads((ROOT / "openapi.json").read_bytes())
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for verb in _VERBS:
            if verb in operations:
                operation = operations[verb]
                by_tag.setdefault(operation["tags"][0], []).append(_operation(verb, path, operation))
    parts = [f"## {tag.capitalize()}\n\n" + "\n".join(found) for tag, found in by_tag.items()]
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    return (
        "# REST API\n\nThe contract is `openapi.json`; a running service shows it at `/docs`.\n\n"
        + "\n".join(parts)
        + "\n## Schemas\n\n"
        + "\n".join(schemas)
    )


def _within(path: str, command: Any) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _within(f"{path} {name}", inner)
    elif not command.hidden:
        yield path, command


def _options(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option" and not each.hidden]


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = option.default if option.show_default and not callable(option.default) else None
    shown = "" if default in (None, "", (), [], False) else f"`{default}`"
    variable = f" `{option.envvar}` says it as well." if option.envvar else ""
    return f"| {names} | {shown} | {_cell(option.help or '')}{variable} |"


def _operation(verb: str, path: str, operation: Mapping[str, Any]) -> str:
    lines = [f"### {verb.upper()} {path}\n", f"{operation.get('description') or operation['summary']}\n"]
    if parameters := operation.get("parameters"):
        rows = [f"| `{p['name']}` | {p['in']} | {_cell(p.get('description', ''))} |" for p in parameters]
        lines.append("| parameter | in | what it is |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    if body := operation.get("requestBody"):
        lines.append(f"Body: {_contents(body['content'])}\n")
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            content = _contents(answer.get("content", {}))
            lines.append(f"Answers {status}{': ' + content if content else ''}.\n")
    if refused := [status for status in operation["responses"] if not status.startswith("2")]:
        lines.append(f"Refuses with {', '.join(refused)}.\n")
    if scopes := [
        scope for each in operation.get("security", ()) for found in each.values() for scope in found
    ]:
        lines.append(f"Needs a key with the scope `{'`, `'.join(scopes)}`.\n")
    return "\n".join(lines)


def _contents(content: Mapping[str, Any]) -> str:
    """Name media types, with the schema of each that has one."""
    return "; ".join(f"`{kind}`{_of(each.get('schema', {}))}" for kind, each in content.items())


def _of(schema: Mapping[str, Any]) -> str:
    name = _named(schema)
    return f", {name}" if name else ""


def _named(schema: Mapping[str, Any]) -> str:
    """Link the schema that a schema refers to, or name its type."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(filter(None, dict.fromkeys(map(_named, schema[word]))))
    if schema.get("type") == "array":
        return f"list of {_named(schema.get('items', {})) or 'values'}"
    return str(schema.get("type", ""))


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    lines = [f"### {name}\n"]
    if about := schema.get("description"):
        lines.append(f"{about}\n")
    if "enum" in schema:
        lines.append(f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.\n")
    if properties := schema.get("properties"):
        needed = schema.get("required", ())
        rows = [
            f"| `{field}`{'' if field in needed else ' (optional)'} | {_cell(_named(each))} | "
            f"{_cell(each.get('description', ''))} |"
            for field, each in properties.items()
        ]
        lines.append("| field | type | what it is |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(lines)


def _kinds(kind: type[AppError]) -> set[type[AppError]]:
    """Return the errors that have a code of their own."""
    found = {kind} if "code" in vars(kind) else set()
    return found.union(*map(_kinds, kind.__subclasses__()))


def _status(kind: type[AppError]) -> str:
    return next((str(status.value) for base, status in STATUS.items() if issubclass(kind, base)), "500")


def _paragraphs(text: str | None) -> str:
    return "\n".join(line.strip() for line in (text or "").splitlines())


def _line(text: str | None) -> str:
    return _cell((text or "").strip().partition("\n\n")[0])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
