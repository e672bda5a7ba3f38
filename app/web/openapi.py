"""The contract as OpenAPI 3.1, with what FastAPI does not add by itself."""

from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.web.access import scope_of
from app.web.problems import Problem, problems

REF_TEMPLATE = "#/components/schemas/{model}"

_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "mixsd_…",
    "description": "An API key. What an operation requires is the scope that the key must have.",
}


def operation_id(route: APIRoute) -> str:
    """Name operations after their functions, so that generated clients read well."""
    return route.name


def install(app: FastAPI, *models: type[BaseModel]) -> None:
    """Add the schemas of `models`, which routes refer to by name, and of problems."""
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
            _secure(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


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
