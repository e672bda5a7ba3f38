"""What may stand in a document: commands that are parsed as the program would, and those that tests run."""

import ast
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import typer
from jsonschema import Draft202012Validator
from typer.core import TyperGroup

from app.settings import Settings
from mixsd.cli import cli
from mixsd.cli._lists import Lists, spread

ROOT: Final = Path(__file__).parents[2]
CONTRACT: Final = json.loads((ROOT / "openapi.json").read_bytes())
NEEDS: Final = frozenset({"aws", "docker", "node", "hours"})
"""What a block may need that not every machine has."""

RUN: Final[Mapping[str, str]] = {
    "make demo": "tests/cli/test_demo.py::test_the_demo_sends_the_facts_as_one_job_and_reports_every_fact",
    ". .venv/bin/activate": "tests/documents/test_commands.py::test_make_puts_everything_into_venv",
    "openapi-python-client generate": "tests/e2e/test_clients.py::test_a_generated_client_goes_the_whole_way",
    "python -m benchmarks.living": "tests/benchmarks/test_living_benchmark.py"
    "::test_three_versions_are_trained_and_told_of",
    "python ask.py": "tests/documents/test_commands.py::test_the_adapter_answers_without_mixsd",
}
"""First words of commands, and the test that runs them."""
RUN_WHOLE: Final[Mapping[str, str]] = {
    "MIXSD=http://127.0.0.1:8000\n": "tests/test_readme.py::test_the_steps_of_a_job_run_as_they_stand",
    "cat > ask.py <<'END'": "tests/documents/test_commands.py::test_the_adapter_answers_without_mixsd",
}
"""Beginnings of blocks, and the test that runs each as it stands."""

_ADDRESSES: Final = ("$MIXSD/", "http://127.0.0.1:8000/")
_ELSEWHERE: Final = {"MIXSD_URL", "MIXSD_API_KEY", "MIXSD_BENCHMARK_DATA"}
"""Variables that commands read, which are no settings of the service."""


class WrongError(Exception):
    """A command that would not do what the document says."""


def check(words: Sequence[str]) -> None:
    """Check a command that no test runs.

    Raises:
        WrongError: It would be refused, or nobody can tell.
    """
    if re.fullmatch(r"\w+=.*", words[0], re.DOTALL):
        _variable(words[0])
        return
    checker = _CHECKERS.get(words[0])
    if checker is None:
        raise WrongError(
            f"no test runs `{' '.join(words)[:80]}`: enter it in RUN, or write <!-- needs: ... --> before it"
        )
    checker(words[1:])


def is_run(words: Sequence[str]) -> bool:
    """Say whether a test runs a command."""
    line = " ".join(words)
    return any(line == begins or line.startswith(f"{begins} ") for begins in RUN)


def is_run_whole(block: str) -> bool:
    return any(block.startswith(begins) for begins in RUN_WHOLE)


def exists(name: str) -> bool:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree))


def _mixsd(words: Sequence[str]) -> None:
    """Parse words as the command line would, but that files need not be there."""
    command: Any = typer.main.get_command(cli)
    rest = list(words)
    while isinstance(command, TyperGroup):
        if rest and rest[0] in {name for each in command.params for name in each.opts}:
            return
        if not rest or rest[0] not in command.commands:
            raise WrongError(f"there is no command `mixsd {' '.join(words)}`")
        command = command.commands[rest.pop(0)]
    context = command.context_class(command, info_name=command.name)
    try:
        parser = command.make_parser(context)
        values, left, _ = parser.parse_args(list(spread(rest)) if isinstance(command, Lists) else rest)
    except Exception as error:
        raise WrongError(f"`mixsd {' '.join(words)}`: {error}") from error
    if left:
        raise WrongError(f"`mixsd {' '.join(words)}`: {left[0]} is one word too many")
    for parameter in command.params:
        _value(parameter, values.get(parameter.name), context, words)


def _value(parameter: Any, value: Any, context: Any, words: Sequence[str]) -> None:
    if value in (None, ()) or (isinstance(value, str) and not value and parameter.required):
        if parameter.required:
            raise WrongError(f"`mixsd {' '.join(words)}`: {parameter.name} is missing")
        return
    kind = copy(parameter.type)
    if hasattr(kind, "exists"):
        kind.exists = False
    for each in value if isinstance(value, (list, tuple)) else [value]:
        try:
            kind.convert(each, parameter, context)
        except Exception as error:
            raise WrongError(f"`mixsd {' '.join(words)}`: {error}") from error


def _curl(words: Sequence[str]) -> None:
    """Hold a request against the contract: path, verb, query and body."""
    verb, url, query, bodies = _request(words)
    address = next((address for address in _ADDRESSES if url.startswith(address)), None)
    if address is None:
        raise WrongError(f"curl asks {url}, which is no address of the service")
    parts = urlsplit(url.removeprefix(address.rstrip("/")))
    operation = _operation(verb, parts.path)
    known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    for name, _ in [*parse_qsl(parts.query, keep_blank_values=True), *query]:
        if name not in known:
            raise WrongError(f"{verb.upper()} {parts.path} has no parameter {name}, only {sorted(known)}")
    for body in bodies:
        _body(operation, body)


def _request(words: Sequence[str]) -> tuple[str, str, list[tuple[str, str]], list[str]]:
    verb, url, query, bodies = "", "", [], []
    rest = iter(words)
    is_get = "-G" in words
    for word in rest:
        if word in {"-X", "-H", "--output", "-o", "--data", "--data-binary", "--data-urlencode", "-F"}:
            value = next(rest)
            if word == "-X":
                verb = value.lower()
            elif is_get and word == "--data-urlencode":
                query.append((value.partition("=")[0], ""))
            elif word in {"--data", "--data-binary", "-F"}:
                verb = verb or "post"
                bodies += [value] if word == "--data" else []
        elif not word.startswith("-"):
            url = word
    return verb or "get", url, query, bodies


def _operation(verb: str, path: str) -> Mapping[str, Any]:
    pattern = re.sub(r"\$\w+|SUBSTITUTED", "[^/]+", re.escape(path).replace(r"\$", "$"))
    for template, operations in CONTRACT["paths"].items():
        if verb in operations and re.fullmatch(pattern, template):
            found: Mapping[str, Any] = operations[verb]
            return found
    raise WrongError(f"the contract has no {verb.upper()} {path}")


def _body(operation: Mapping[str, Any], body: str) -> None:
    if body.startswith("@"):
        return  # a file, or what was piped
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    try:
        value = json.loads(body)
    except ValueError as error:
        raise WrongError(f"the body {body} is no JSON: {error}") from error
    whole = {**schema, "components": CONTRACT["components"]}
    for problem in Draft202012Validator(whole).iter_errors(value):
        raise WrongError(f"the body {body} is none that the contract takes: {problem.message}")


def _variable(assignment: str) -> None:
    """Check that a variable of ours exists."""
    name = assignment.partition("=")[0]
    known = {f"MIXSD_{field.upper()}" for field in Settings.model_fields} | _ELSEWHERE
    if name.startswith("MIXSD_") and name not in known:
        raise WrongError(f"there is no setting {name}")


def _export(words: Sequence[str]) -> None:
    for word in words:
        _variable(word)


def _pip(words: Sequence[str]) -> None:
    """Check that extras exist, and that other packages are among those that are pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = (ROOT / "constraints.txt").read_text().lower()
    if words[0] != "install":
        raise WrongError(f"pip {words[0]} is not for a document")
    for word in words[1:]:
        name, _, extras = word.rstrip("]").partition("[")
        for extra in filter(None, extras.split(",")):
            if extra not in project["optional-dependencies"]:
                raise WrongError(f"there is no extra {extra}")
        if name not in {"mixsd", "."} and f"\n{name.lower()}==" not in pinned:
            raise WrongError(f"{name} is no package of ours, nor one that is pinned")


def _python(words: Sequence[str]) -> None:
    """Compile what is given with `-c`."""
    if words[0] != "-c":
        raise WrongError(f"no test runs `python {' '.join(words)[:80]}`: enter it in RUN")
    compile(words[1], "document", "exec")


_CHECKERS: Final[Mapping[str, Callable[[Sequence[str]], None]]] = {
    "mixsd": _mixsd,
    "curl": _curl,
    "export": _export,
    "pip": _pip,
    "python3": _python,
    "python": _python,
}
PARSED: Final = frozenset(_CHECKERS)
"""Programs whose words are parsed."""
