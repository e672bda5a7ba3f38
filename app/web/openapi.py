"""The contract as OpenAPI 3.1, with what FastAPI does not add by itself."""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.web.problems import Problem

REF_TEMPLATE = "#/components/schemas/{model}"


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
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
