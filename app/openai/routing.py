"""What all routes of this API have in common: strictness, lists, errors."""

import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, Self, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from app.base_models import service as base_models
from app.db.lists import Cut
from app.openai.errors import BadAfterError, UnknownQueryError
from app.web.body import StrictRoute
from app.web.deps import SettingsDep
from app.web.openai_errors import PREFIX, openai_errors

Item = TypeVar("Item", bound=BaseModel)

_ID: Final = re.compile(r"[a-z]{2,8}_[0-9a-f]{32}")


class OpenAIRoute(StrictRoute):
    """A route that ignores nothing: a query that it does not know is refused."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = frozenset(_queries(self.dependant))

        async def handle_known(request: Request) -> Response:
            for name in request.query_params:
                if name not in known:
                    raise UnknownQueryError(name)
            return await handle(request)

        return handle_known


def _queries(dependant: Any) -> Iterator[str]:
    yield from (param.alias for param in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _queries(inner)


def router_of(path: str, tag: str) -> APIRouter:
    """Return the router of a part of the API."""
    return APIRouter(
        prefix=f"{PREFIX}{path}",
        tags=[f"openai {tag}"],
        route_class=OpenAIRoute,
        responses=openai_errors(400, 401, 403, 422, 429, 500, 503),
    )


async def _cache(settings: SettingsDep) -> Path:
    return base_models.cache_of(settings.model_cache)


CacheDep = Annotated[Path, Depends(_cache)]
"""Where base models are kept."""


def cut_of(*, limit: int, most: int, ordered: bool = False) -> Any:
    """Return a dependency on the part of a list, by age, that is asked for.

    Args:
        limit: Objects of a page, unless the request says how many.
        most: How many it may say.
        ordered: Whether it may say in which order.
    """
    limits = Annotated[int, Query(ge=1, le=most, description="Most objects of a page.")]
    afters = Annotated[str | None, Query(max_length=60, description="Only those behind the one of this id.")]
    orders = Annotated[Literal["asc", "desc"], Query(description="Oldest first, or newest first.")]

    async def newest(limit: limits = limit, after: afters = None) -> Cut[str]:
        return Cut(limit, _checked(after), ascending=False)

    async def either(
        limit: limits = limit,
        after: afters = None,
        order: orders = "desc",
    ) -> Cut[str]:
        return Cut(limit, _checked(after), ascending=order == "asc")

    return Depends(either if ordered else newest)


def _checked(after: str | None) -> str | None:
    if after is not None and not _ID.fullmatch(after):
        raise BadAfterError
    return after


class OpenAIPage(BaseModel, Generic[Item]):
    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, items: Sequence[Item], cut: Cut[Any]) -> Self:
        """Make a page of objects with an `id`, of which there is one more than asked for if more follow."""
        shown: list[Any] = list(items[: cut.limit])
        return cls(
            object="list",
            data=shown,
            first_id=shown[0].id if shown else None,
            last_id=shown[-1].id if shown else None,
            has_more=len(items) > cut.limit,
        )
