"""Which methods a path takes, of all routes together: each route by itself knows only its own."""

from typing import Final

from fastapi import Request
from starlette.routing import Match

_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def allowed_methods(request: Request) -> str:
    """Return what the header `Allow` of a 405 says about the path of `request`.

    A path that stands in the contract as it is takes what it takes there: that `/fact-sets/validate`
    would also do as `/fact-sets/{fact_set_id}` is no offer.
    """
    named = request.app.openapi()["paths"].get(request.url.path)
    if named is not None:
        return ", ".join(sorted(method.upper() for method in named))
    routes = request.app.router.routes
    found = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join(found)
