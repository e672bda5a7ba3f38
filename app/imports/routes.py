"""HTTP face of imports: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response, status

from app.adapters.schemas import AdapterRead
from app.idempotency.once import once
from app.ids import FactSetId
from app.imports import service
from app.imports.service import Wanted
from app.imports.unpacking import TYPES, archive_of
from app.projects.quotas import Quotas
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep, StoreDep
from app.web.problems import problems
from app.web.uploads import FORM, MAX_NAME, SentFile, sent_file

router = APIRouter(prefix="/adapters", tags=["adapters"])

_BINARY: Final = {"type": "string", "format": "binary"}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": _BINARY, "example": "..."} for kind in TYPES},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {**_BINARY, "description": "Its type or the end of its name says the kind."},
                        "name": {"type": "string", "maxLength": MAX_NAME, "description": "The label."},
                    },
                },
                "encoding": {"file": {"contentType": ", ".join(TYPES)}},
                "example": {"file": "...", "name": "ours"},
            },
        },
    }
}

SentFileDep = Annotated[SentFile, Depends(sent_file(archive_of))]


@router.post(
    "/import",
    status_code=status.HTTP_201_CREATED,
    responses=problems(400, 404, 409, 413, 415, 422, 507),
    openapi_extra=_BODY,
)
@once
def import_adapter(
    request: Request,
    response: Response,
    sent: SentFileDep,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
    settings: SettingsDep,
    base_model: Annotated[str, Query(min_length=1, max_length=200, description="As a job names it.")],
    revision: Annotated[
        str | None, Query(max_length=100, description="Left out, the one on disk that came last.")
    ] = None,
    fact_set_id: Annotated[
        FactSetId | None,
        Query(max_length=40, description="Of the facts that it was taught, if they are here."),
    ] = None,
    label: Annotated[str | None, Query(min_length=1, max_length=MAX_NAME)] = None,
) -> AdapterRead:
    """Bring in a LoRA adapter that peft has saved: `adapter_config.json` and `adapter_model.safetensors`.

    It is compared with the base model first, which must be on disk. Then it is like any other, but that
    nothing of it has been measured: `POST /evaluations` does that.
    """
    adapter = service.import_adapter(
        database,
        store,
        sent.file,
        archive_of(sent.media_type, sent.file_name),
        Wanted(base_model, revision, fact_set_id, sent.name or label),
        project_id=project_id,
        cache=settings.model_cache,
        allowed=settings.allowed_models,
        most_bytes=settings.max_upload_bytes,
        defaults=Quotas.by_default(settings),
    )
    response.headers["Location"] = request.app.url_path_for("get_adapter", adapter_id=adapter.id)
    return adapter
