"""HTTP face of adapters: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response, status

from app.adapters import service
from app.adapters.models import Adapter
from app.adapters.schemas import AdapterFileRead, AdapterFiles, AdapterRead, Format
from app.ids import AdapterId, JobId
from app.web import downloads
from app.web.deps import DatabaseDep, ProjectDep, StoreDep
from app.web.paging import IdCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/adapters", tags=["adapters"])

_MEDIA_TYPES: Final = {Format.TAR_GZ: "application/gzip", Format.ZIP: "application/zip"}
_BYTES: Final = "application/octet-stream"


@router.get("", responses=problems(400))
def list_adapters(
    project_id: ProjectDep, database: DatabaseDep, cut: IdCutDep, job_id: JobId | None = None
) -> Page[AdapterRead]:
    """List adapters, newest first."""
    adapters = service.list_adapters(database, cut, project_id=project_id, job_id=job_id)
    return Page[AdapterRead].of(adapters, cut)


@router.get("/{adapter_id}", response_model=AdapterRead, responses=problems(404))
def get_adapter(adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep) -> Adapter:
    """Read what is known of an adapter."""
    return service.get_adapter(database, project_id=project_id, adapter_id=adapter_id)


@router.delete("/{adapter_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
def delete_adapter(adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep) -> None:
    """Delete an adapter. The report of its job stays."""
    service.delete_adapter(database, project_id=project_id, adapter_id=adapter_id)


@router.get(
    "/{adapter_id}/download",
    response_class=Response,
    responses=problems(404, 409) | downloads.documented(*_MEDIA_TYPES.values()),
)
def download_adapter(
    adapter_id: AdapterId,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
    form: Annotated[Format, Query(alias="format")] = Format.TAR_GZ,
) -> Response:
    """Fetch an adapter as one archive. It unpacks into the folder `adapter`, which `peft` can load."""
    found = service.download_adapter(database, store, project_id=project_id, adapter_id=adapter_id, form=form)
    return downloads.answer(
        request,
        found.content,
        name=found.name,
        tag=found.sha256,
        media_type=_MEDIA_TYPES[form],
        length=found.length,
    )


@router.get("/{adapter_id}/files", responses=problems(404))
def list_adapter_files(adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep) -> AdapterFiles:
    """List the files of an adapter, by path."""
    files = service.list_files(database, project_id=project_id, adapter_id=adapter_id)
    return AdapterFiles(data=[AdapterFileRead.model_validate(file) for file in files])


@router.get(
    "/{adapter_id}/files/{path:path}",
    response_class=Response,
    responses=problems(404, 409) | downloads.documented(_BYTES),
)
def get_adapter_file(
    adapter_id: AdapterId,
    path: str,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
) -> Response:
    """Fetch one file of an adapter. Its ETag is its sha256."""
    found = service.download_file(database, store, project_id=project_id, adapter_id=adapter_id, path=path)
    return downloads.answer(
        request, found.content, name=found.name, tag=found.sha256, media_type=_BYTES, length=found.length
    )
