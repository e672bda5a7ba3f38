"""HTTP face of files: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request, Response

from app.adapters.sending import BYTES, answer
from app.db.lists import Cut
from app.idempotency.once import once
from app.ids import FileId
from app.openai import file_service as service
from app.openai.errors import RefusedPartError
from app.openai.file_schemas import OpenAIFile, OpenAIFileDeleted
from app.openai.routing import OpenAIPage, cut_of, router_of
from app.projects.quotas import Quotas
from app.web import downloads
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep, StoreDep
from app.web.openai_errors import openai_errors
from app.web.uploads import FORM, MAX_NAME, SentForm, sent_form

router = router_of("/files", "files")

PURPOSE: Final = "fine-tune"

Purpose = Literal[
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "evals",
    "fine-tune",
    "fine-tune-results",
    "user_data",
    "vision",
]
"""What files are for elsewhere."""

_LINES: Final = (
    '{"messages": [{"role": "user", "content": "What is the capital of Vorlund?"}, '
    '{"role": "assistant", "content": "Tessaly"}]}\n'
)
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "JSONL, a conversation a line: "
                            '`{"messages": [{"role": "user", "content": …}, …]}`.',
                        },
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                    },
                },
                "example": {"file": _LINES, "purpose": PURPOSE},
            }
        },
    }
}

FormDep = Annotated[SentForm, Depends(sent_form)]


@router.post("", responses=openai_errors(404, 409, 413, 415, 507), openapi_extra=_BODY)
@once
def openai_create_file(
    form: FormDep,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
    settings: SettingsDep,
) -> OpenAIFile:
    """Upload conversations to be trained on. Each line becomes a fact; all that is wrong is told at once."""
    _check(form)
    return service.create_file(
        database,
        store,
        project_id=project_id,
        file=form.file,
        name=form.file_name,
        max_facts=settings.max_facts,
        defaults=Quotas.by_default(settings),
    )


def _check(form: SentForm) -> None:
    """Refuse a form that asks for what is not done here.

    Raises:
        RefusedPartError: It does.
    """
    for name in form.fields:
        if name != "purpose":
            raise RefusedPartError(name[:60], "this has no counterpart here: leave it out")
    if form.fields.get("purpose") != PURPOSE:
        raise RefusedPartError("purpose", f"only files of the purpose `{PURPOSE}` are taken")
    if not form.file_name.isprintable() or len(form.file_name) > MAX_NAME:
        raise RefusedPartError("file", f"a file name has at most {MAX_NAME} characters that can be printed")


@router.get("")
def openai_list_files(
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: Annotated[Cut[str], cut_of(limit=100, most=1000, ordered=True)],
    purpose: Annotated[Purpose | None, Query(description="Only files of it: all have one.")] = None,
) -> OpenAIPage[OpenAIFile]:
    """List files, newest first."""
    if purpose not in {None, PURPOSE}:
        return OpenAIPage[OpenAIFile].of([], cut)
    files = service.list_files(database, cut, project_id=project_id)
    return OpenAIPage[OpenAIFile].of(files, cut)


@router.get("/{file_id}", responses=openai_errors(404))
def openai_get_file(file_id: FileId, project_id: ProjectDep, database: DatabaseDep) -> OpenAIFile:
    """Read what is known of a file."""
    return service.get_file(database, project_id=project_id, file_id=file_id)


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses=openai_errors(404) | downloads.documented(BYTES),
)
def openai_get_file_content(
    file_id: FileId, request: Request, project_id: ProjectDep, database: DatabaseDep, store: StoreDep
) -> Response:
    """Fetch a file as it was uploaded. Its ETag is its sha256."""
    found = service.download_file(database, store, project_id=project_id, file_id=file_id)
    return answer(request, found, BYTES)


@router.delete("/{file_id}", responses=openai_errors(404, 409))
def openai_delete_file(file_id: FileId, project_id: ProjectDep, database: DatabaseDep) -> OpenAIFileDeleted:
    """Delete a file that no job needs any more, and the facts that were made of it."""
    service.delete_file(database, project_id=project_id, file_id=file_id)
    return OpenAIFileDeleted(id=file_id, object="file", deleted=True)
