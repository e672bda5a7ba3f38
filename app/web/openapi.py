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
            schema["components"]["schemas"] = dict(sorted({**more["$defs"], **known}.items()))
            _exemplify(schema["components"]["schemas"], examples)
            _secure(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


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


def _secure(schema: dict[str, Any]) -> None:
    """Say which key each operation takes, and what comes of others."""
    schema["components"]["securitySchemes"] = {"apiKey": _SCHEME}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            scope = scope_of(method.upper(), path)
            operation["security"] = [] if scope is None else [{"apiKey": [scope.value]}]
            if scope is not None:
                refusals = {str(status): answer for status, answer in problems(401, 403, 429).items()}
                operation["responses"] = dict(sorted({**refusals, **operation["responses"]}.items()))
