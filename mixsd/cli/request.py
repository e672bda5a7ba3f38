"""The job that a command line asks for, as the body of `POST /jobs`."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mixsd.errors import MixsdError

Body = dict[str, Any]


class BadRequestError(MixsdError):
    """What was asked for cannot be made a job of. The message says what to do about it."""

    code: ClassVar[str] = "bad_request"


def read_config(file: Path) -> Body:
    """Read a body from a file in JSON, YAML or TOML, by the end of its name.

    Raises:
        BadRequestError: It is none, or no object.
        OSError: It cannot be read.
    """
    text = file.read_text(encoding="utf-8")
    try:
        match file.suffix.lower():
            case ".toml":
                body: Any = tomllib.loads(text)
            case ".yaml" | ".yml":
                import yaml

                body = yaml.safe_load(text)
            case _:
                body = json.loads(text)
    except Exception as error:
        said = " ".join(str(error).split())
        raise BadRequestError(f"{file} cannot be read as {file.suffix[1:] or 'JSON'}: {said}") from error
    if not isinstance(body, dict):
        raise BadRequestError(f"{file} must hold an object with the fields of `POST /jobs`")
    return body


def a_body(
    config: Mapping[str, Any],
    *,
    model: str = "",
    methods: Sequence[str] = (),
    lams: Sequence[str] = (),
    name: str = "",
    priority: int | None = None,
    fact_set: str = "",
    parent: str = "",
    changes: Sequence[str] = (),
) -> Body:
    """Return the body that `config`, options and then `changes` (`training.rank=8`) make, later ones first.

    Raises:
        BadRequestError: They do not make one.
    """
    body: Body = json.loads(json.dumps(config, default=str))
    given = {
        "base_model": model,
        "name": name,
        "priority": priority,
        "fact_set_id": fact_set,
        "parent_adapter_id": parent,
    }
    body |= {field: value for field, value in given.items() if value not in {"", None}}
    if fact_set:
        body.pop("facts", None)
    _choose_methods(body, methods, lams)
    for change in changes:
        _set(body, change)
    if not body.get("base_model"):
        raise BadRequestError("say which base model, with --model or `base_model` in the file")
    return body


def _choose_methods(body: Body, names: Sequence[str], lams: Sequence[str]) -> None:
    """Set the method, or the list of methods. Settings that the file has for others have no place in it."""
    given = body.get("method", {})
    in_file = given if isinstance(given, list) else [given]
    if not all(isinstance(settings, dict) for settings in in_file):
        raise BadRequestError("`method` in the file must be an object with a `type`, or a list of such")
    if names:
        chosen = [settings for name in names for settings in _of_type(name, in_file)]
    else:
        chosen = [{"type": "mixsd", **settings} for settings in in_file]
    if lams:
        mixed = [settings for settings in chosen if settings["type"] == "mixsd"]
        if not mixed:
            raise BadRequestError("--lam is for the method mixsd, which was not asked for")
        for settings in mixed:
            settings["lam"] = _lam(lams)
    body["method"] = chosen[0] if len(chosen) == 1 else chosen


def _of_type(name: str, in_file: Sequence[Body]) -> list[Body]:
    """Return what a file says of methods of that type, or the type alone."""
    found = [{**settings, "type": name} for settings in in_file if settings.get("type", name) == name]
    return found or [{"type": name}]


def _lam(texts: Sequence[str]) -> float | list[float]:
    """Read one value, or several, which make a sweep: in several options, or with commas between them."""
    text = ",".join(texts)
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadRequestError(f"--lam takes a number, or several as in 0,0.3,1: not {text!r}") from None
    return values[0] if len(values) == 1 else values


def _set(body: Body, change: str) -> None:
    """Set one field, `training.rank=8`: the value is JSON, or else a text."""
    path, equals, text = change.partition("=")
    *parents, last = path.split(".")
    if not equals or not all([*parents, last]):
        raise BadRequestError(f"--set takes FIELD=VALUE as in training.rank=8, not {change!r}")
    here: Any = body
    for step in parents:
        here = here.setdefault(step, {})
        if not isinstance(here, dict):
            raise BadRequestError(f"--set {path}: `{step}` is no object")
    try:
        here[last] = json.loads(text)
    except ValueError:
        here[last] = text
