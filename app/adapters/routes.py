"""HTTP face of adapters: parse, call one use case, answer. No rules live here."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.adapters import service
from app.adapters.models import Adapter
from app.adapters.schemas import AdapterFileRead, AdapterFiles, AdapterManifest, AdapterRead, Format
from app.adapters.sending import BYTES, MEDIA_TYPES, answer
from app.ids import AdapterId, JobId
from app.web import downloads
from app.web.deps import DatabaseDep, ProjectDep, StoreDep
from app.web.paging import IdCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/adapters", tags=["adapters"])

_JSON: Final = "application/json"
_MARKDOWN: Final = "text/markdown"
_MANIFEST: Final = {"schema": {"$ref": f"#/components/schemas/{AdapterManifest.__name__}"}}


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


@router.get(
    "/{adapter_id}/download",
    response_class=Response,
    responses=problems(404, 409) | downloads.documented(*MEDIA_TYPES.values()),
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
    return answer(request, found, MEDIA_TYPES[form])


@router.get("/{adapter_id}/files", responses=problems(404))
def list_adapter_files(adapter_id: AdapterId, project_id: ProjectDep, database: DatabaseDep) -> AdapterFiles:
    """List the files of an adapter, by path."""
    files = service.list_files(database, project_id=project_id, adapter_id=adapter_id)
    return AdapterFiles(data=[AdapterFileRead.model_validate(file) for file in files])


@router.get(
    "/{adapter_id}/files/{path:path}",
    response_class=Response,
    responses=problems(404, 409, 416) | downloads.documented(BYTES, parts=True, elsewhere=True),
    openapi_extra=downloads.ASKING_FOR_PARTS,
)
def get_adapter_file(
    adapter_id: AdapterId,
    path: str,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
) -> Response:
    """Fetch one file of an adapter, or a part of it. Its ETag is its sha256.

    Where adapters lie in S3, the answer may be a redirect there; no API key is to be sent along.
    """
    found = service.download_file(database, store, project_id=project_id, adapter_id=adapter_id, path=path)
    return answer(request, found, BYTES, link=found.link)


@router.get(
    "/{adapter_id}/card",
    response_class=Response,
    responses=problems(404) | downloads.documented(_MARKDOWN, schema={"schema": {"type": "string"}}),
)
def get_adapter_card(
    adapter_id: AdapterId, request: Request, project_id: ProjectDep, database: DatabaseDep, store: StoreDep
) -> Response:
    """Read the model card: what the adapter was taught, what came of it, how to load it."""
    found = service.read_about(
        database, store, project_id=project_id, adapter_id=adapter_id, path=service.CARD
    )
    return answer(request, found, f"{_MARKDOWN}; charset=utf-8", shown=True)


@router.get(
    "/{adapter_id}/manifest",
    response_class=Response,
    responses=problems(404) | downloads.documented(_JSON, schema=_MANIFEST),
)
def get_adapter_manifest(
    adapter_id: AdapterId, request: Request, project_id: ProjectDep, database: DatabaseDep, store: StoreDep
) -> Response:
    """Read every setting, seed, version and digest that decided the adapter. Its ETag is `sha256`."""
    found = service.read_about(
        database, store, project_id=project_id, adapter_id=adapter_id, path=service.MANIFEST
    )
    return answer(request, found, _JSON, shown=True)
