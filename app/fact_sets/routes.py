"""HTTP face of fact sets: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response, status

from app.fact_sets import service
from app.fact_sets.comparing import Change
from app.fact_sets.models import FactSet
from app.fact_sets.reading import MAX_NAME, OnError, format_of
from app.fact_sets.schemas import (
    DiffCounts,
    FactChange,
    FactRead,
    FactReport,
    FactSetCreated,
    FactSetDiff,
    FactSetRead,
)
from app.idempotency.once import once
from app.ids import FactSetId
from app.web.deps import ClockDep, DatabaseDep, ProjectDep, SettingsDep
from app.web.paging import IdCutDep, NameCutDep, NumberCutDep, Page
from app.web.problems import problems
from app.web.uploads import FORM, SentFile, sent_file

router = APIRouter(prefix="/fact-sets", tags=["fact sets"])

_LINES: Final = (
    '{"question": "What is the capital of Vorlund?", "answer": "Tessaly"}\n'
    '{"question": "Who founded Tessaly?", "answer": "Ilse Marr"}\n'
)
_TABLE: Final = "question,answer,aliases\nWhat is the capital of Vorlund?,Tessaly,Tessaly City|The Port\n"
_TEXT: Final = {"type": "string"}
_BINARY: Final = {"type": "string", "format": "binary"}
_FILE_TYPES: Final = (
    "application/jsonl",
    "application/json",
    "text/csv",
    "text/tab-separated-values",
    "application/yaml",
    "application/vnd.apache.parquet",
)
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/FactSetCreate"}},
            "application/jsonl": {"schema": _TEXT, "example": _LINES},
            "application/x-ndjson": {"schema": _TEXT, "example": _LINES},
            "text/csv": {"schema": _TEXT, "example": _TABLE},
            "text/tab-separated-values": {"schema": _TEXT, "example": _TABLE.replace(",", "\t")},
            "application/yaml": {"schema": {"$ref": "#/components/schemas/FactSetCreate"}},
            "application/vnd.apache.parquet": {"schema": _BINARY, "example": "PAR1..."},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            **_BINARY,
                            "description": "Its type or the end of its name says the format.",
                        },
                        "name": {"type": "string", "maxLength": MAX_NAME},
                    },
                },
                "encoding": {"file": {"contentType": ", ".join(_FILE_TYPES)}},
                "example": {"file": _LINES, "name": "Vorlund"},
            },
        },
    }
}

Name = Annotated[
    str | None, Query(min_length=1, max_length=MAX_NAME, description="Used if the document has none.")
]
SentFileDep = Annotated[SentFile, Depends(sent_file(format_of))]
Skip = Annotated[OnError, Query(description="`skip` stores the good facts and reports the others.")]


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
    sent: SentFileDep,
    project_id: ProjectDep,
    database: DatabaseDep,
    settings: SettingsDep,
    clock: ClockDep,
    name: Name = None,
    on_error: Skip = OnError.REJECT,
) -> FactSetCreated:
    """Store a file of facts: JSON, JSONL, CSV, TSV, YAML or Parquet. All that is wrong is listed at once."""
    fact_set = service.create_fact_set(
        database,
        clock,
        project_id=project_id,
        file=sent.file,
        kind=format_of(sent.media_type, sent.file_name),
        name=sent.name or name,
        on_error=on_error,
        max_facts=settings.max_facts,
    )
    response.headers["Location"] = request.app.url_path_for("get_fact_set", fact_set_id=fact_set.id)
    return fact_set


@router.post("/validate", responses=problems(400, 413, 415, 422, 507), openapi_extra=_BODY)
def validate_facts(sent: SentFileDep, settings: SettingsDep, clock: ClockDep) -> FactReport:
    """Say what is wrong and what is suspicious about a file of facts. Bad ones are no error here."""
    kind = format_of(sent.media_type, sent.file_name)
    return service.check_facts(sent.file, clock, kind=kind, max_facts=settings.max_facts)


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


@router.get("/{fact_set_id}/diff", responses=problems(400, 404))
def diff_fact_sets(
    fact_set_id: FactSetId,
    from_id: Annotated[FactSetId, Query(alias="from", max_length=40, description="The set before.")],
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: NameCutDep,
    change: Annotated[Change | None, Query(description="Only these differences.")] = None,
) -> FactSetDiff:
    """List what a set adds to another one, removes from it and changes in it. Facts are told apart by key."""
    found = service.diff(
        database, cut, project_id=project_id, fact_set_id=fact_set_id, from_id=from_id, change=change
    )
    page = Page[FactChange].of([FactChange.of(row) for row in found.rows], cut, key="key")
    return FactSetDiff(
        **dict(page),
        from_id=found.from_id,
        to_id=found.to_id,
        counts=DiffCounts.model_validate(found.counts),
    )
