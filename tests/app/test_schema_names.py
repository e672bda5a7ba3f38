"""Two models of one name are no contract: one would be documented as the other."""

from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from app.web import openapi
from app.web.openapi import SchemaNameError


def a_model(name: str, **fields: Any) -> type[BaseModel]:
    definitions: Any = {field: (kind, ...) for field, kind in fields.items()}
    model: type[BaseModel] = create_model(name, **definitions)
    return model


def an_app(*answers: type[BaseModel]) -> FastAPI:
    app = FastAPI()
    for place, answer in enumerate(answers):

        @app.get(f"/{place}", response_model=answer)
        def read() -> None: ...

    return app


def test_another_model_of_a_name_that_routes_use_is_refused() -> None:
    app = an_app(a_model("Town", mayor=str))
    openapi.install(app, a_model("Town", river=str))

    with pytest.raises(SchemaNameError, match="rename one of each: Town"):
        app.openapi()


def test_so_are_two_models_of_one_name_in_routes() -> None:
    one, other = a_model("Town", mayor=str), a_model("Town", river=str)
    other.__module__ = "elsewhere"
    app = an_app(one, other)
    openapi.install(app)

    with pytest.raises(SchemaNameError, match="Town"):
        app.openapi()


def test_so_are_one_of_requests_and_another_of_answers() -> None:
    asked, told = a_model("Town", mayor=str), a_model("Town", river=str)
    told.__module__ = asked.__module__
    app = FastAPI()

    @app.post("/", response_model=told)
    def write(town: asked) -> None: ...  # type: ignore[valid-type]

    openapi.install(app)

    with pytest.raises(SchemaNameError, match="Town"):
        app.openapi()


def test_the_same_model_may_be_named_twice() -> None:
    town = a_model("Town", mayor=str | None)
    app = an_app(town)
    openapi.install(app, town)

    assert "Town" in app.openapi()["components"]["schemas"]
