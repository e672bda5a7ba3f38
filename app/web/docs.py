"""The page that shows the contract, with all that it loads: it works where there is no internet."""

from importlib import resources
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from app.web.headers import DOCS_ASSETS, DOCS_PATH

_PACKAGE: Final = "fastapi_offline"
_DAY: Final = "public, max-age=86400"


def install(app: FastAPI) -> None:
    """Serve the page and its assets. They are no part of the contract."""

    def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        script, style, icon = (f"{root}{DOCS_PATH}/{name}" for name in DOCS_ASSETS)
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title}: the API",
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        )

    app.add_route(DOCS_PATH, docs, include_in_schema=False)
    for name, media_type in DOCS_ASSETS.items():
        _serve(app, name, media_type)


def _serve(app: FastAPI, name: str, media_type: str) -> None:
    def asset(_: Request) -> Response:
        content = resources.files(_PACKAGE).joinpath("static", name).read_bytes()
        return Response(content, media_type=media_type, headers={"Cache-Control": _DAY})

    app.add_route(f"{DOCS_PATH}/{name}", asset, include_in_schema=False)
