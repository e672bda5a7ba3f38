"""HTTP face of exports: parse, call one use case, answer. No rules live here."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.adapters.schemas import Format
from app.adapters.sending import BYTES, MEDIA_TYPES, answer
from app.delivery import creating, service, serving
from app.delivery.engines import Engine
from app.delivery.requests import ExportCreate
from app.delivery.schemas import ServePlan
from app.exports.models import Export
from app.exports.schemas import ExportFileRead, ExportFiles, ExportRead
from app.idempotency.once import once
from app.ids import AdapterId, ExportId
from app.jobs.deps import HintDep
from app.jobs.schemas import JobRead
from app.projects.quotas import Quotas
from app.web import downloads
from app.web.body import StrictRoute
from app.web.deps import DatabaseDep, ProjectDep, SettingsDep, StoreDep
from app.web.paging import IdCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/adapters", tags=["exports"], route_class=StrictRoute)


UnusableToo = Annotated[
    bool, Query(description="Send it although its parity failed: it does not say what the adapter says.")
]


@router.post(
    "/{adapter_id}/exports",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(400, 404, 409, 413, 415, 422, 507),
)
@once
def create_export(
    adapter_id: AdapterId,
    body: ExportCreate,
    request: Request,
    response: Response,
    project_id: ProjectDep,
    database: DatabaseDep,
    hint: HintDep,
    settings: SettingsDep,
) -> JobRead:
    """Have an adapter written in a form that engines take, and checked, by a job to poll.

    The job is that in `Location`. Once it has succeeded, the adapter's exports have it, by `?job_id=`.
    """
    job = creating.create_export(
        database,
        project_id=project_id,
        adapter_id=adapter_id,
        request=body,
        allowed_models=settings.allowed_models,
        defaults=Quotas.by_default(settings),
    )
    hint()
    response.headers["Location"] = request.app.url_path_for("get_job", job_id=job.id)
    return job


@router.get("/{adapter_id}/serve", responses=problems(404, 409))
def serve_adapter(
    adapter_id: AdapterId,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
    engine: Annotated[Engine, Query(description="What is to serve it.")] = Engine.TRANSFORMERS,
) -> ServePlan:
    """Read how an engine serves an adapter: commands to copy, what they need, and what stands against it."""
    return serving.how_to_serve(database, store, project_id=project_id, adapter_id=adapter_id, engine=engine)


@router.get("/{adapter_id}/exports", responses=problems(400, 404))
def list_exports(
    adapter_id: AdapterId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: IdCutDep,
    job_id: str | None = None,
) -> Page[ExportRead]:
    """List the exports of an adapter, newest first."""
    found = service.list_exports(database, cut, project_id=project_id, adapter_id=adapter_id, job_id=job_id)
    return Page[ExportRead].of(found, cut)


@router.get("/{adapter_id}/exports/{export_id}", response_model=ExportRead, responses=problems(404))
def get_export(
    adapter_id: AdapterId, export_id: ExportId, project_id: ProjectDep, database: DatabaseDep
) -> Export:
    """Read what is known of an export, with the certificate of its parity."""
    return service.get_export(database, project_id=project_id, adapter_id=adapter_id, export_id=export_id)


@router.delete(
    "/{adapter_id}/exports/{export_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404)
)
def delete_export(
    adapter_id: AdapterId, export_id: ExportId, project_id: ProjectDep, database: DatabaseDep
) -> None:
    """Delete an export. Its adapter stays."""
    service.delete_export(database, project_id=project_id, adapter_id=adapter_id, export_id=export_id)


@router.get(
    "/{adapter_id}/exports/{export_id}/download",
    response_class=Response,
    responses=problems(404, 409) | downloads.documented(*MEDIA_TYPES.values()),
)
def download_export(
    adapter_id: AdapterId,
    export_id: ExportId,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
    form: Annotated[Format, Query(alias="format")] = Format.TAR_GZ,
    *,
    unusable: UnusableToo = False,
) -> Response:
    """Fetch an export as one archive. It unpacks into the folder `export`."""
    found = service.download_export(
        database,
        store,
        project_id=project_id,
        adapter_id=adapter_id,
        export_id=export_id,
        form=form,
        unusable=unusable,
    )
    return answer(request, found, MEDIA_TYPES[form])


@router.get("/{adapter_id}/exports/{export_id}/files", responses=problems(404))
def list_export_files(
    adapter_id: AdapterId, export_id: ExportId, project_id: ProjectDep, database: DatabaseDep
) -> ExportFiles:
    """List the files of an export, by path."""
    files = service.list_files(database, project_id=project_id, adapter_id=adapter_id, export_id=export_id)
    return ExportFiles(data=[ExportFileRead.model_validate(file) for file in files])


@router.get(
    "/{adapter_id}/exports/{export_id}/files/{path:path}",
    response_class=Response,
    responses=problems(404, 409, 416) | downloads.documented(BYTES, parts=True),
    openapi_extra=downloads.ASKING_FOR_PARTS,
)
def get_export_file(
    adapter_id: AdapterId,
    export_id: ExportId,
    path: str,
    request: Request,
    project_id: ProjectDep,
    database: DatabaseDep,
    store: StoreDep,
    *,
    unusable: UnusableToo = False,
) -> Response:
    """Fetch one file of an export, or a part of it. Its ETag is its sha256."""
    found = service.download_file(
        database,
        store,
        project_id=project_id,
        adapter_id=adapter_id,
        export_id=export_id,
        path=path,
        unusable=unusable,
    )
    return answer(request, found, BYTES)
