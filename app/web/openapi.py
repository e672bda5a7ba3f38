"""The contract as OpenAPI 3.1, with what FastAPI does not add by itself."""

from collections.abc import Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.web.access import scope_of
from app.web.openai_errors import PREFIX, openai_errors
from app.web.problems import Problem, problems

REF_TEMPLATE = "#/components/schemas/{model}"

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "mixsd_…",
    "description": "An API key. What an operation requires is the scope that the key must have.",
}


def operation_id(route: APIRoute) -> str:
    """Name operations after their functions, so that generated clients read well."""
    return route.name


def install(app: FastAPI, *models: type[BaseModel], examples: Mapping[str, Any] = _NONE) -> None:
    """Add the schemas of `models`, which routes refer to by name, of problems, and `examples` by model."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            every: list[type[BaseModel]] = [Problem, *models]
            named: list[tuple[type[BaseModel], Literal["validation"]]] = [
                (model, "validation") for model in every
            ]
            _, more = models_json_schema(named, ref_template=REF_TEMPLATE)
            known = schema["components"]["schemas"]
            _check_names(known, more["$defs"])
            schema["components"]["schemas"] = dict(sorted({**more["$defs"], **known}.items()))
            _exemplify(schema["components"]["schemas"], examples)
            _secure(schema)
            _forbid_nul(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


class SchemaNameError(Exception):
    """Two models have one name, so that one of them would be documented as the other."""


def _check_names(known: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Do nothing if no two models have the same name.

    Of those that FastAPI knows it makes longer names, of their modules, where two are alike; and names
    that end with a direction, where one is of a request and the other of an answer.

    Raises:
        SchemaNameError: Two have.
    """
    alike = [name for name in known.keys() & more.keys() if _bare(known[name]) != _bare(more[name])]
    every = known.keys() | more.keys()
    alike += [name for name in every if "__" in name or name.endswith(("-Input", "-Output"))]
    if alike:
        raise SchemaNameError(f"two models have one name, rename one of each: {', '.join(sorted(alike))}")


def _bare(schema: Any) -> Any:
    """Return a schema without what FastAPI leaves out of its own: null, and what holds nothing else."""
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if isinstance(schema, dict):
        return {name: _bare(part) for name, part in schema.items() if part is not None and name != "examples"}
    return schema


def _exemplify(schemas: dict[str, Any], examples: Mapping[str, Any]) -> None:
    """Give models examples that have none, and pages of models one with theirs."""
    for name, example in examples.items():
        if name in schemas:
            schemas[name].setdefault("examples", [deepcopy(example)])
    for schema in schemas.values():
        for example in schema.get("examples", []):
            _put_nulls_back(schema, example, schemas)
    for name, schema in schemas.items():
        if name.startswith("Page_"):
            item = schema["properties"]["data"]["items"]["$ref"].rpartition("/")[2]
            rows = schemas[item].get("examples", [])
            schema.setdefault("examples", [{"data": rows[:1], "has_more": False, "next_cursor": None}])


def _put_nulls_back(schema: Mapping[str, Any], value: Any, schemas: Mapping[str, Any]) -> None:
    """Complete an example with the members that must be there: FastAPI takes null out of examples."""
    schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, list):
        for item in value:
            _put_nulls_back(schema.get("items", {}), item, schemas)
    if isinstance(value, dict):
        for name in schema.get("required", []):
            value.setdefault(name, None)
        for name, member in value.items():
            _put_nulls_back(schema.get("properties", {}).get(name, {}), member, schemas)


NO_NUL: Final = r"^[^\u0000]*$"
"""What every text of a body is, whatever else it is."""


def _forbid_nul(document: dict[str, Any]) -> None:
    """Say of texts that clients send, and that no pattern is said of, that they hold no NUL."""
    left = [
        content["schema"]
        for item in document["paths"].values()
        for operation in item.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    seen: set[str] = set()
    while left:
        schema = left.pop()
        name = schema.get("$ref", "").rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            left.append(document["components"]["schemas"][name])
        if schema.get("type") == "string" and not schema.keys() & {"pattern", "enum", "const", "format"}:
            schema["pattern"] = NO_NUL
        left += _parts(schema)


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of the members, items and alternatives of a schema; of a map those of its names."""
    if schema.get("type") == "object" and "propertyNames" in schema:
        schema["propertyNames"].setdefault("type", "string")
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("oneOf", [])]
    parts += [schema.get(name) for name in ("items", "additionalProperties", "propertyNames")]
    return [part for part in parts if isinstance(part, dict)]


def _secure(schema: dict[str, Any]) -> None:
    """Say which key each operation takes, and what comes of others."""
    schema["components"]["securitySchemes"] = {"apiKey": _SCHEME}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            scope = scope_of(method.upper(), path)
            operation["security"] = [] if scope is None else [{"apiKey": [scope.value]}]
            statuses = [] if scope is None else [401, 403, 429]
            if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
                statuses.append(414)
            known = openai_errors if path.startswith(PREFIX) else problems
            refusals = {str(status): answer for status, answer in known(*statuses).items()}
            operation["responses"] = dict(sorted({**refusals, **operation["responses"]}.items()))
