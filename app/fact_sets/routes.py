"""HTTP face of fact sets: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response, status

from app.fact_sets import service
from app.fact_sets.models import FactSet
from app.fact_sets.reading import JSONL, MAX_NAME, OnError
from app.fact_sets.schemas import FactRead, FactSetCreated, FactSetRead
from app.idempotency.once import once
from app.ids import FactSetId
from app.web.body import MediaTypeDep, UploadDep
from app.web.deps import ClockDep, DatabaseDep, ProjectDep, SettingsDep
from app.web.paging import IdCutDep, NumberCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/fact-sets", tags=["fact sets"])

_LINES: Final = (
    '{"question": "What is the capital of Vorlund?", "answer": "Tessaly"}\n'
    '{"question": "Who founded Tessaly?", "answer": "Ilse Marr"}\n'
)
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/FactSetCreate"}},
            **{kind: {"schema": {"type": "string"}, "example": _LINES} for kind in JSONL[:2]},
        },
    }
}

Name = Annotated[
    str | None, Query(min_length=1, max_length=MAX_NAME, description="Used if the document has none.")
]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems(400, 409, 413, 415, 422, 507),
    openapi_extra=_BODY,
)
@once
def create_fact_set(
    request: Request,
    response: Response,
    data: UploadDep,
    media_type: MediaTypeDep,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    clock: ClockDep,
    name: Name = None,
    on_error: OnError = OnError.REJECT,
) -> FactSetCreated:
    """Store facts: one JSON document, or one fact a line. Everything that is wrong is listed at once."""
    fact_set = service.create_fact_set(
        database,
        clock,
        project_id=project_id,
        data=data,
        media_type=media_type,
        name=name,
        on_error=on_error,
        max_facts=settings.max_facts,
    )
    response.headers["Location"] = request.app.url_path_for("get_fact_set", fact_set_id=fact_set.id)
    return fact_set


@router.get("", responses=problems(400))
def list_fact_sets(project_id: ProjectDep, database: DatabaseDep, cut: IdCutDep) -> Page[FactSetRead]:
    """List fact sets, newest first."""
    return Page[FactSetRead].of(service.list_fact_sets(database, cut, project_id=project_id), cut)


@router.get("/{fact_set_id}", response_model=FactSetRead, responses=problems(404))
def get_fact_set(fact_set_id: FactSetId, project_id: ProjectDep, database: DatabaseDep) -> FactSet:
    """Read what is known of a fact set."""
    return service.get_fact_set(database, project_id=project_id, fact_set_id=fact_set_id)


@router.delete("/{fact_set_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409))
def delete_fact_set(fact_set_id: FactSetId, project_id: ProjectDep, database: DatabaseDep) -> None:
    """Delete a fact set that no job needs any more. What jobs made of it stays."""
    service.delete_fact_set(database, project_id=project_id, fact_set_id=fact_set_id)


@router.get("/{fact_set_id}/facts", responses=problems(400, 404))
def list_facts(
    fact_set_id: FactSetId, project_id: ProjectDep, database: DatabaseDep, cut: NumberCutDep
) -> Page[FactRead]:
    """List the facts of a set, in the order in which they came."""
    rows = service.list_facts(database, cut, project_id=project_id, fact_set_id=fact_set_id)
    return Page[FactRead].of([FactRead.of(row) for row in rows], cut, key="ord")
