"""HTTP face of reports: parse, call one use case, answer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response

from app.ids import JobId
from app.ledger.routes import VariantQuery
from app.reports import html, markdown, service
from app.reports.schemas import FactProvenance, JobManifest, JobReport, ReportFormat
from app.reports.service import MOST_FACTS, MOST_PROVENANCE
from app.web import negotiation
from app.web.deps import DatabaseDep, ProjectDep, StoreDep
from app.web.paging import NumberCutDep, Page
from app.web.problems import problems

router = APIRouter(prefix="/jobs/{job_id}", tags=["reports"])

_TYPES: Final = {
    "application/json": ReportFormat.JSON,
    "text/html": ReportFormat.HTML,
    "text/markdown": ReportFormat.MARKDOWN,
}
_SHOWN: Final = {ReportFormat.JSON: 0, ReportFormat.HTML: 200, ReportFormat.MARKDOWN: 200}
_EXPLAINED: Final = {ReportFormat.JSON: 0, ReportFormat.HTML: 10, ReportFormat.MARKDOWN: 3}

Renderer = Callable[[JobReport], str]
_RENDERERS: Final[Mapping[ReportFormat, tuple[str, Renderer, Mapping[str, str]]]] = MappingProxyType(
    {
        ReportFormat.HTML: ("text/html", html.render, {"Content-Security-Policy": html.POLICY}),
        ReportFormat.MARKDOWN: ("text/markdown", markdown.render, {}),
    }
)

_DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The report.",
        "content": {name: {"schema": {"type": "string"}} for name in _TYPES if name.startswith("text/")},
    }
}


@router.get("/report", response_model=JobReport, responses=problems(404) | _DOCUMENTED)
def get_job_report(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    response: Response,
    form: Annotated[
        ReportFormat | None, Query(alias="format", description="In place of the header `Accept`.")
    ] = None,
    facts: Annotated[
        int | None,
        Query(ge=0, le=MOST_FACTS, description="Most verdicts to list: else 200, and none in JSON."),
    ] = None,
    provenance: Annotated[
        int | None,
        Query(
            ge=0,
            le=MOST_PROVENANCE,
            description="Most facts to show the texts of: else 10, 3 in Markdown, and none in JSON.",
        ),
    ] = None,
    accepted: Annotated[str, Header(alias="accept", include_in_schema=False)] = "",
) -> Any:
    """Sum up a job, whatever its status: what was learned, what was lost, how long it took.

    As JSON, as Markdown, or as one HTML page that needs nothing else.
    """
    form = form or _TYPES[negotiation.preferred(accepted, list(_TYPES))]
    report = service.report(
        database,
        project_id=project_id,
        job_id=job_id,
        facts=_SHOWN[form] if facts is None else facts,
        texts=_EXPLAINED[form] if provenance is None else provenance,
    )
    if form is ReportFormat.JSON:
        response.headers["Vary"] = "Accept"
        return report
    media_type, render, policy = _RENDERERS[form]
    headers = {
        **policy,
        "Vary": "Accept",
        "Content-Disposition": f'inline; filename="{report.job_id}-report.{form}"',
    }
    return Response(render(report), media_type=media_type, headers=headers)


@router.get("/provenance", responses=problems(400, 404))
def list_job_provenance(
    job_id: JobId,
    project_id: ProjectDep,
    database: DatabaseDep,
    cut: NumberCutDep,
    key: Annotated[
        str | None, Query(max_length=2000, description="Of one fact. It may hold any characters.")
    ] = None,
    variant: VariantQuery = None,
) -> Page[FactProvenance]:
    """List the texts of each fact, token by token: which of them are naive, and what they cost."""
    found = service.list_provenance(
        database, cut, project_id=project_id, job_id=job_id, key=key, variant=variant
    )
    return Page[FactProvenance].of(found, cut, key="ord")


@router.get("/manifest", responses=problems(404))
def get_job_manifest(
    job_id: JobId, project_id: ProjectDep, database: DatabaseDep, store: StoreDep
) -> JobManifest:
    """Read everything that decided a job. Its `request` can be sent to `POST /jobs` as it is."""
    return service.manifest(database, store, project_id=project_id, job_id=job_id)
